//! Reads the gateway's lines: the used part of JSON, strictly.
//!
//! This reader is independent of the engine's, which must not judge itself. A line that is no JSON
//! object breaks an invariant.

/// The members of a message, as raw text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Message<'a> {
    pub id: &'a str,
    pub method: Option<&'a str>,
    pub params: &'a str,
    pub result: &'a str,
    pub error: &'a str,
}

/// Reads a line; `None` if it is no object with Stratum's members.
pub fn message(line: &str) -> Option<Message<'_>> {
    let mut message = Message::default();
    let mut rest = line.trim_ascii().strip_prefix('{')?;
    loop {
        let (key, after) = value(rest)?;
        let (member, after) = value(after.trim_ascii_start().strip_prefix(':')?)?;
        match unquoted(key)? {
            "id" => message.id = member,
            "method" => message.method = Some(unquoted(member)?),
            "params" => message.params = member,
            "result" => message.result = member,
            "error" => message.error = member,
            _ => return None,
        }
        let after = after.trim_ascii_start();
        if let Some(more) = after.strip_prefix(',') {
            rest = more;
        } else {
            return (after == "}").then_some(message);
        }
    }
}

/// The elements of an array.
pub fn elements(array: &str) -> Vec<&str> {
    let mut elements = Vec::with_capacity(9);
    let Some(mut rest) = array.trim_ascii().strip_prefix('[') else { return elements };
    while let Some((element, after)) = value(rest) {
        elements.push(element);
        match after.trim_ascii_start().strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    elements
}

/// The inside of a string.
pub fn unquoted(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.strip_suffix('"')
}

/// Splits off one value.
fn value(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_ascii_start();
    let bytes = text.as_bytes();
    let end = match bytes.first()? {
        b'"' => string(bytes)?,
        b'[' | b'{' => {
            let (mut depth, mut at) = (1_usize, 1);
            while depth > 0 {
                match *bytes.get(at)? {
                    b'"' => at += string(&bytes[at..])? - 1,
                    b'[' | b'{' => depth += 1,
                    b']' | b'}' => depth -= 1,
                    _ => {}
                }
                at += 1;
            }
            at
        }
        _ => bytes.iter().position(|byte| b",: ]}".contains(byte))?,
    };
    (end > 0).then(|| text.split_at(end))
}

/// The length of a string with its quotes.
fn string(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        match bytes[at] {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

/// Appends hex.
pub fn push_hex(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)] as char);
        out.push(DIGITS[usize::from(byte & 15)] as char);
    }
}

/// Writes hex.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    push_hex(bytes, &mut out);
    out
}

/// Reads hex.
pub fn unhex(digits: &str) -> Option<Vec<u8>> {
    let mut bytes = vec![0; digits.len() / 2];
    unhex_into(digits, &mut bytes)?;
    Some(bytes)
}

/// Reads hex of a known length.
pub fn unhex_array<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    unhex_into(digits, &mut bytes)?;
    Some(bytes)
}

fn unhex_into(digits: &str, bytes: &mut [u8]) -> Option<()> {
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
