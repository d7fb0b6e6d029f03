//! Reads what the gateway says: as much JSON as its lines have, and nothing that is none.
//!
//! It is the simulation's own, so that the engine's reader is not judged by itself; a line that is
//! no JSON object is a broken invariant.

/// The members of a message, as they stand in the line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Message<'a> {
    pub id: &'a str,
    pub method: Option<&'a str>,
    pub params: &'a str,
    pub result: &'a str,
    pub error: &'a str,
}

/// Reads a line; `None` where it is no object of the members that Stratum has.
pub fn message(line: &str) -> Option<Message<'_>> {
    let mut message = Message::default();
    let mut rest = line.trim().strip_prefix('{')?;
    loop {
        let (key, after) = value(rest)?;
        let (member, after) = value(after.trim_start().strip_prefix(':')?)?;
        match unquoted(key)? {
            "id" => message.id = member,
            "method" => message.method = Some(unquoted(member)?),
            "params" => message.params = member,
            "result" => message.result = member,
            "error" => message.error = member,
            _ => return None,
        }
        let after = after.trim_start();
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
    let Some(mut rest) = array.trim().strip_prefix('[') else { return elements };
    while let Some((element, after)) = value(rest) {
        elements.push(element);
        match after.trim_start().strip_prefix(',') {
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
    let text = text.trim_start();
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0_usize, 0_usize);
    loop {
        match *bytes.get(at)? {
            b'"' => {
                at += 1;
                while *bytes.get(at)? != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
                if depth == 0 {
                    break;
                }
            }
            b'[' | b'{' => {
                depth += 1;
                at += 1;
            }
            b']' | b'}' => {
                if depth == 0 {
                    break;
                }
                depth -= 1;
                at += 1;
                if depth == 0 {
                    break;
                }
            }
            b',' | b':' | b' ' if depth == 0 => break,
            _ => at += 1,
        }
    }
    (at > 0).then(|| text.split_at(at))
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
    let digit = |byte: u8| (byte as char).to_digit(16).map(|value| value as u8);
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?))
        .collect()
}
