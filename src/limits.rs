//! Every capacity, length and time limit of the engine, with its meaning, unit and reason (B1).
//!
//! No other file holds a magic number. A board profile (`board/*.toml`) or a setting may ask for
//! less than a constant here, never for more. The relations that the numbers must keep are
//! asserted at compile time at the end of the file, next to the sum of the engine's memory.

use crate::time::Duration;

// ---- lines and JSON ------------------------------------------------------------------------

/// Longest line from a miner, in bytes without its line end (F03, F04). The longest recorded is
/// under 600 bytes; ckpool drops lines above 1,024.
pub const DOWNSTREAM_LINE_BYTES_MAX: usize = 4096;

/// Longest line from a pool, in bytes without its line end (F05). The longest recorded is the
/// 25 kB notify of a p2pool (`pool-p2pool-dogecoin.txt`).
pub const UPSTREAM_LINE_BYTES_MAX: usize = 65_536;

/// The least that a board may set that limit to, in bytes: a plain notify of a full block, with
/// 14 branches and a coinbase of 1 kB, has less than 4,000.
pub const UPSTREAM_LINE_BYTES_LEAST: usize = 4096;

/// Deepest nesting of arrays and objects in a line (F07). A subscribe result needs 4.
pub const JSON_DEPTH_MAX: usize = 8;

/// Longest id that is echoed, in bytes of raw JSON text (F08). Recorded ids end at 11 bytes.
pub const ID_BYTES_MAX: usize = 64;

/// Longest JSON number that is read, in bytes (F07).
pub const NUMBER_BYTES_MAX: usize = 40;

/// Params that the scan of a line keeps; later ones are counted and looked up where needed. A
/// notify has 9, and one pool sends 10.
pub const PARAMS_KEPT_MAX: usize = 10;

/// Longest name of a method that is known, in bytes; for those that come with escapes.
pub const METHOD_NAME_BYTES_MAX: usize = 27;

const _: () = assert!(JSON_DEPTH_MAX < 32, "the scanner keeps a bit per level in a u32");
const _: () = assert!(NUMBER_BYTES_MAX < 256, "errors carry the limit in a u8");
const _: () = assert!(UPSTREAM_LINE_BYTES_MAX < 1 << 31, "the framer keeps a flag in the top bit");

// ---- work ----------------------------------------------------------------------------------

/// Merkle branches of a job; 2^32 transactions would need 32. ESP-Miner keeps 32.
pub const MERKLE_BRANCHES_MAX: usize = 32;

/// Longest extranonce1 of a pool, in bytes. Recorded: 0 to 18.
pub const EXTRANONCE1_BYTES_MAX: usize = 32;

/// Longest extranonce2 of a pool, in bytes. Recorded: 3 to 14; a pool that gives more is refused.
pub const EXTRANONCE2_BYTES_MAX: usize = 16;

/// Shortest extranonce2 of a pool that can be divided among miners, in bytes: one byte numbers
/// them and [`ROLL_BYTES_MIN`] are left to each.
pub const EXTRANONCE2_BYTES_MIN: u8 = 3;

/// Bytes of an extranonce2 that number the miners, at most: 65,536 ids are more than one machine
/// has connections.
pub const MINER_ID_BYTES_MAX: u8 = 2;

/// Largest table whose miners one byte numbers. Half of the 256 ids stay free, so that miners may
/// come with another geometry while all others are there.
pub const SMALL_TABLE_MINERS_MAX: usize = 128;

/// Fewest bytes that a miner rolls. With 2^32 nonces to each of 65,536 rolls, a 1 PH/s miner
/// without version rolling takes 280 ms for its space, and 5 h with the 16 bits of BIP-0320.
pub const ROLL_BYTES_MIN: u8 = 2;

/// Most bytes that a miner rolls. Firmwares keep their extranonce2 in 64 bits.
pub const ROLL_BYTES_MAX: u8 = 8;

/// Bytes that a miner rolls where the pool's extranonce2 has room: what most pools give.
pub const ROLL_BYTES_PREFERRED: u8 = 4;

/// Bytes that a miner rolls where the pool's extranonce2 is short or not yet known. A pool of 4
/// bytes, the least that is common, still serves miners that were answered before it.
pub const ROLL_BYTES_SHORT: u8 = 2;

/// Longest second half of a coinbase (`coinb2`), in bytes: what a line of the maximum size can
/// hold as hex beside an empty `coinb1`.
pub const COINB2_BYTES_MAX: usize = UPSTREAM_LINE_BYTES_MAX / 2;

/// Longest session id of a pool that is kept to resume the session, in bytes. Recorded: 8 to 36; a
/// longer one is not asked for again.
pub const SESSION_BYTES_MAX: usize = 64;

/// Longest job id of a pool, in bytes. Recorded: 1 to 38.
pub const POOL_JOB_ID_BYTES_MAX: usize = 64;

/// Highest difficulty that is taken from a pool (F34). The network's passed 1e14 in 2025, and no
/// share needs to be heavier than a block; far above it no hash would ever be sent.
pub const POOL_DIFFICULTY_MAX: f64 = 1e18;

/// Lowest difficulty that is taken from a pool (F34). Below 2^-32 every hash is a share, so lower
/// ones say nothing more; their digits would fill a line to every miner.
pub const POOL_DIFFICULTY_MIN: f64 = 1e-12;

/// How far a share's ntime may lie ahead of its job's, in seconds (QUIRKS 40; ckpool's bound).
pub const NTIME_AHEAD_SECS_MAX: u32 = 7000;

/// How far a job's ntime is moved on at most, in seconds, so that what is sent again is new work.
/// Pools take what is up to two hours ahead; half of [`NTIME_AHEAD_SECS_MAX`] is left to miners.
pub const NTIME_MOVED_SECS_MAX: u32 = NTIME_AHEAD_SECS_MAX / 2;

// ---- settings ------------------------------------------------------------------------------

/// Longest address of a pool as text, in bytes: scheme, host and port.
pub const URL_BYTES_MAX: usize = HOST_BYTES_MAX + 24;

/// Longest text of any one setting, in bytes: a list of patterns, or of hosts, with commas.
pub const SETTING_BYTES_MAX: usize = 1088;

/// Patterns of names, and ranges of addresses, that miners are let in by: a hall each, and some.
pub const ADMIT_MAX: usize = 16;

/// Longest pattern of a worker's name, in bytes.
pub const PATTERN_BYTES_MAX: usize = 64;

/// Names that the page answers to, beside those that it has by itself.
pub const WEB_HOSTS_MAX: usize = 4;

/// Longest label of a host's name, in bytes (RFC 1035).
pub const HOST_LABEL_BYTES_MAX: usize = 63;

/// Longest name of a serial port, in bytes.
pub const DEVICE_NAME_BYTES_MAX: usize = 32;

const _: () = assert!(ADMIT_MAX * (PATTERN_BYTES_MAX + 1) <= SETTING_BYTES_MAX);
const _: () = assert!(WEB_HOSTS_MAX * (HOST_BYTES_MAX + 1) <= SETTING_BYTES_MAX);

// ---- the serial line -----------------------------------------------------------------------

/// Longest line of the console, in bytes without its end (F73).
pub const CONSOLE_LINE_BYTES_MAX: usize = 256;

/// Lines that the console can bring back; the oldest is forgotten.
pub const CONSOLE_HISTORY_MAX: usize = 8;

/// Letters of an escape sequence of a terminal; the longest of those that mean something has 3.
pub const ESCAPE_BYTES_MAX: u8 = 8;

/// Longest frame, in bytes with its checksum and without COBS and zeroes: an [`Item`] with the
/// longest text of a setting twice, and what stands around it. A line of a log that is longer is
/// cut.
///
/// [`Item`]: crate::control::Item
pub const FRAME_BYTES_MAX: usize = 2560;

/// Bytes of a frame on the line: COBS adds one to every 254, and there is a zero on either side.
pub const FRAME_WIRE_BYTES_MAX: usize = FRAME_BYTES_MAX + FRAME_BYTES_MAX / 254 + 4;

/// Bytes of one answer on the serial line; what goes on is left out, and said to be. It takes
/// eleven seconds at 115,200 bits per second.
pub const SERIAL_ANSWER_BYTES_MAX: usize = 131_072;

/// Time for which what is written waits for somebody to take it, before it is dropped.
pub const SERIAL_UNREAD_MAX: Duration = Duration::from_secs(5);

/// Time without a byte after which a frame that was begun is none, and bytes are the console's.
pub const SERIAL_SILENCE: Duration = Duration::from_millis(500);

/// Time before a serial port that is away is looked for again.
pub const SERIAL_RETRY: Duration = Duration::from_secs(1);

/// Longest text of a frame that holds nothing else of length.
pub const FRAME_TEXT_BYTES_MAX: usize = FRAME_BYTES_MAX - 128;

const _: () = assert!(FRAME_BYTES_MAX >= 2 * SETTING_BYTES_MAX + 256, "from, to and the key");

// ---- the gateway ---------------------------------------------------------------------------

/// Bytes of the buffer that all miners' reads share.
pub const READ_BYTES_MAX: usize = 16_384;

/// Bytes kept for a miner whose socket is full: the longest output and the answers to one read.
/// While anything is kept the miner is not read and gets no further job (F46).
pub const SPILL_BYTES_MAX: usize = OUTPUT_BYTES_MIN + 4 * READ_BYTES_MAX;

/// Bytes that all miners with full sockets together are kept, at most; a board's profile may say
/// less. Who would take more is closed (F46).
pub const SPILLS_BYTES_MAX: usize = 1 << 26;

/// Memory of a connection beside its slot in the engine, in bytes: its task, its port, its socket
/// in the runtime, its address at the door. 10,000 of them were measured at under 1,100 each.
pub const CONNECTION_BYTES_MAX: usize = 1536;

/// Memory of a link beside its part of the engine, in bytes: lines that are not sent yet, and
/// what TLS keeps in each direction, by rustls' own limits.
pub const LINK_CONNECTION_BYTES_MAX: usize = 262_144;

/// Memory of the process whatever the number of miners, in bytes: the program, the roots of the
/// web, the runtime, the stacks of its few threads. Measured at 9.4 MB in a debug
/// build, the engine for one miner included.
pub const PROCESS_BYTES_MAX: usize = 12 << 20;

/// Longest file of the kernel that is read to learn about the machine, in bytes.
pub const KERNEL_FILE_BYTES_MAX: usize = 65_536;

/// Longest name of a board's profile, in bytes.
pub const BOARD_NAME_BYTES_MAX: usize = 32;

/// Connections that wait to be accepted; Linux's own limit (`net.core.somaxconn`).
pub const LISTEN_BACKLOG: u32 = 4096;

/// Least time between two submits of a miner, over any longer stretch: 2,000 a second, of which
/// one miner alone takes a fiftieth of a core. Real ones send one in seconds.
pub const SUBMIT_INTERVAL: Duration = Duration::from_micros(500);

/// File descriptors that the gateway needs beside its miners': listeners, links, the ports of
/// status and page and their connections, the runtime's own, files.
pub const FILES_BESIDE_MINERS: u64 =
    (LISTEN_MAX + LINKS_MAX + 2 + HTTP_CONNECTIONS_MAX + 10) as u64;

/// Time in which of each kind of log line one is printed (F52).
pub const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Longest settings file, in bytes; the longest that says anything is under 8 KiB.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;

/// Changes that one operator has made and not committed: every key there is, and as many again.
pub const EDITS_MAX: usize = 128;

/// Time in which a commit that may cut the operator off must be confirmed, else it is taken back.
pub const CONFIRM_MAX: Duration = Duration::from_secs(120);

/// Commits that may follow each other at once; one more is allowed after each
/// [`COMMIT_INTERVAL`]. Each writes a file of a few hundred bytes to flash, so that is 1,440 writes
/// a day whatever asks: on flash with blocks of 128 KiB that bear 10,000 writes each, a partition
/// of 4 MiB bears them for 200 days without a pause, and a farm's few a week for good.
pub const COMMITS_BURST_MAX: u32 = 16;

/// See [`COMMITS_BURST_MAX`].
pub const COMMIT_INTERVAL: Duration = Duration::from_secs(60);

/// Time between two tries to take a commit back that could not be.
pub const TAKE_BACK_INTERVAL: Duration = Duration::from_secs(10);

/// Time between two looks at whether the settings file was edited.
pub const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Longest file of the audit log, in bytes; there are two, and the older is dropped when both are
/// full. An entry takes some 60 bytes: over a thousand are kept.
pub const AUDIT_SEGMENT_BYTES_MAX: usize = 65_536;

/// Longest text of an entry of the audit log, in bytes: of what was asked, and of what came of it.
pub const AUDIT_TEXT_BYTES_MAX: usize = 256;

/// Entries of the audit log that are written the moment they are made; one more is after each
/// [`AUDIT_WRITE_INTERVAL`], with all that came meanwhile. So whoever guesses passwords wears no
/// flash out: 8,640 writes a day at the most.
pub const AUDIT_WRITES_BURST_MAX: u32 = 64;

/// See [`AUDIT_WRITES_BURST_MAX`].
pub const AUDIT_WRITE_INTERVAL: Duration = Duration::from_secs(10);

/// Entries of the audit log that wait to be written; more are only counted.
pub const AUDIT_WAITING_MAX: usize = 64;

/// Who may wait for the disk's thread at once; more wait for a turn: as many as there are
/// connections of the page, whose requests they are.
pub const DISK_ASKERS_MAX: usize = HTTP_CONNECTIONS_MAX;

/// Stores, journals and the like that each have a place of their own in the queue of the disk's
/// thread.
pub const DISK_KEEPERS_MAX: usize = 16;

/// Time that somebody who changed something waits to hear that it is on the disk; then he hears
/// that it is not yet.
pub const DISK_ANSWER_MAX: Duration = Duration::from_secs(10);

/// Time that the end of the process waits for what is still to be written.
pub const DISK_FINISH_MAX: Duration = Duration::from_secs(10);

/// Time between two tries to write what could not be written.
pub const DISK_RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Lines of the log that are kept to be shown; the oldest is dropped.
pub const LOG_LINES_KEPT_MAX: usize = 200;

/// Longest line of the log that is kept to be shown, in bytes; the rest of it is cut.
pub const LOG_LINE_BYTES_MAX: usize = 512;

/// Longest of the two files of frames, in bytes; the older is dropped when both are full. An event
/// takes some 15 bytes: over 4,000 are kept in each.
pub const FRAMES_FILE_BYTES_MAX: usize = 65_536;

/// Longest frame, in bytes: the longest event has a hash and a name. A longer one is dropped.
pub const EVENT_FRAME_BYTES_MAX: usize = 256;

/// Bytes of frames that wait to be written; what comes when it is full is only counted.
pub const FRAMES_WAITING_BYTES_MAX: usize = 4096;

const _: () =
    assert!(FRAMES_WAITING_BYTES_MAX + 256 < FRAMES_FILE_BYTES_MAX, "a batch fits a file");

/// Batches of frames that are written within a second; one more is after each
/// [`FRAMES_WRITE_INTERVAL`], with all that came meanwhile. So events wear flash out by 1,440
/// writes a day at the most, whatever pools and miners do.
pub const FRAMES_WRITES_BURST_MAX: u32 = 16;

/// See [`FRAMES_WRITES_BURST_MAX`].
pub const FRAMES_WRITE_INTERVAL: Duration = Duration::from_secs(60);

/// Miners that one answer lists; the rest is asked for with how many to pass over.
pub const MINERS_LISTED_MAX: usize = 100;

/// Time that the name of a pool may take to resolve (F61).
pub const RESOLVE_MAX: Duration = Duration::from_secs(8);

/// Time that one address of a pool may take to connect; the next is then tried.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Addresses of a pool's name that are tried in one attempt.
pub const ADDRESSES_TRIED_MAX: usize = 4;

/// Time that a pool may take for the TLS handshake.
pub const TLS_HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Gateways that `ctl find` keeps.
pub const FOUND_MAX: usize = 1024;

/// Workers that may be let in by password; a pattern is one, so a farm needs few. All fit a store.
pub const ADMITTED_MAX: usize = 256;

const _: () = assert!(ADMITTED_MAX * (PATTERN_BYTES_MAX + 160) < STATE_BYTES_MAX, "all are kept");

/// Logins of miners that wait for a password to be hashed; a hash takes some 0.1 s on a router.
pub const ADMISSIONS_WAITING_MAX: usize = 256;

/// Wrong passwords that are known as such without another hash.
pub const ADMISSIONS_REFUSED_KEPT: usize = 256;

/// Time that an operator's trial of a pool may take: all its steps in the worst case, nearly.
pub const PROBE_MAX: Duration = Duration::from_secs(45);

/// Lines of a pool that a trial reads; a pool sends five before its first job.
pub const PROBE_LINES_MAX: usize = 64;

/// Certificates of a pool that a trial shows; chains in use have two to four.
pub const CERTIFICATES_SHOWN_MAX: usize = 8;

/// Characters of one text of a certificate that a trial shows.
pub const CERTIFICATE_TEXT_CHARS_MAX: usize = 128;

/// TLS sessions that are kept for resumption, per pool.
pub const TLS_SESSIONS_MAX: usize = 8;

/// Longest file of certificates, in bytes; Debian's bundle of all web roots has 220 kB.
pub const CA_FILE_BYTES_MAX: usize = 1 << 20;

/// Time after which the place of a miner whose cable was pulled is free again (F47), and a link
/// that a NAT has forgotten is made anew (F63), whatever was sent meanwhile.
pub const PEER_GONE_MAX: Duration = Duration::from_secs(90);

/// Time that sent bytes may stay unacknowledged, and silence with keep-alive probes, before the
/// kernel gives a connection up. The one can follow the other: what is sent just before the end of
/// the silence has its own time. So it is less than half of [`PEER_GONE_MAX`].
pub const USER_TIMEOUT: Duration = Duration::from_secs(40);

/// Connections of the network that the page serves at once (F74): a browser's six and some more;
/// each is good for one request.
pub const HTTP_PAGE_CONNECTIONS_MAX: usize = 10;

/// The same of the status port (F97): a browser's six.
pub const HTTP_STATUS_CONNECTIONS_MAX: usize = 6;

/// The same of this machine, at both: a browser's six, of which a health check takes one (F97).
pub const HTTP_OWN_CONNECTIONS_MAX: usize = 6;

/// Connections that the status port and the page serve at once.
pub const HTTP_CONNECTIONS_MAX: usize =
    HTTP_PAGE_CONNECTIONS_MAX + HTTP_STATUS_CONNECTIONS_MAX + HTTP_OWN_CONNECTIONS_MAX;

/// Longest head of a request on the status port, in bytes (F74); hyper's own minimum.
pub const HTTP_HEAD_BYTES_MAX: usize = 8192;

/// Longest body of a request on the status port, in bytes (F74).
pub const HTTP_BODY_BYTES_MAX: usize = 16_384;

/// Longest answer of the status port, in bytes.
pub const HTTP_ANSWER_BYTES_MAX: usize = 262_144;

/// Time for the head of a request, and again for its body and answer (F74).
pub const HTTP_TIMEOUT: Duration = Duration::from_secs(5);

/// TLS handshakes among them that go on at once, so that stalled ones leave places (F53).
pub const HTTP_HANDSHAKES_MAX: usize = 8;

/// The same of one address.
pub const HTTP_HANDSHAKES_PER_ADDRESS_MAX: usize = 4;

/// TLS sessions that the page keeps for browsers to resume.
pub const HTTP_TLS_SESSIONS_MAX: usize = 32;

/// What TLS keeps of one connection of the page, in bytes: a record in each direction, and the
/// state of its keys.
pub const HTTP_TLS_BYTES_MAX: usize = 65_536;

/// Certificates of a chain that is brought for the page.
pub const CERTIFICATES_MAX: usize = 8;

/// Connections of one address (of one IPv6 /64) among those that a port serves: what browsers open
/// at once is six. Somebody who holds his open leaves room for others.
pub const HTTP_CONNECTIONS_PER_ADDRESS_MAX: usize = 8;

/// Time that the carrying out of a request may take: the trial of a pool is the longest, and has to
/// say what was wrong.
pub const HTTP_WORK_TIMEOUT: Duration = Duration::from_secs(PROBE_MAX.as_secs() + 15);

/// Sessions that are open at once.
pub const SESSIONS_MAX: usize = 16;

/// Time without a request after which a session ends.
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(30 * 60);

/// Time after which a session ends, however much it is used.
pub const SESSION_MAX: Duration = Duration::from_secs(12 * 3600);

/// The same for a session that the set-up code opened: the time to set a gateway up.
pub const SETUP_SESSION_MAX: Duration = Duration::from_secs(3600);

/// Wrong passwords of an address that cost no wait (F76).
pub const ATTEMPTS_FREE: u32 = 3;

/// Wait after the first wrong password that does; it doubles with each.
pub const ATTEMPT_WAIT_MIN: Duration = Duration::from_secs(1);

/// Wrong passwords after which an address is locked out.
pub const ATTEMPTS_MAX: u32 = 10;

/// Time that an address is locked out, and after which wrong passwords are forgotten.
pub const ATTEMPTS_LOCK: Duration = Duration::from_secs(15 * 60);

/// Addresses whose wrong passwords are counted apart; more share one count.
pub const ATTEMPTS_KEPT_MAX: usize = 256;

/// Counts that addresses share for which that table has no room: more make a stranger's waits
/// rarer, and guesses from many addresses faster (F98).
pub const ATTEMPT_COUNTS_SHARED: usize = 16;

/// Longest wait of a shared count, which never locks: with all of them two guesses a second, so
/// that of the set-up code's 10^8 digits one in six hundred is tried in a day.
pub const ATTEMPT_WAIT_SHARED_MAX: Duration = Duration::from_secs(8);

/// Longest wait of this machine, and of a browser that was logged in before; neither is locked out
/// (F98).
pub const ATTEMPT_WAIT_KNOWN_MAX: Duration = Duration::from_secs(30);

/// Browsers whose wrong passwords are counted apart; of more, the one that was wrong longest ago is
/// forgotten. Each has shown the password of its role before.
pub const DEVICES_COUNTED_MAX: usize = 16;

/// Names that conflict on the network and are given up by a number behind them; after these comes
/// one with a part of this machine's address (F97).
pub const MDNS_RENAMES_MAX: u32 = 3;

/// Time without a name where that is another's too.
pub const MDNS_QUIET: Duration = Duration::from_secs(600);

/// Longest packet of mDNS that is read, in bytes: what a cable carries whole.
pub const MDNS_PACKET_BYTES_MAX: usize = 1500;

/// Packets of mDNS that are read at once. A farm of a thousand devices asks a few times a second.
pub const MDNS_PACKETS_BURST_MAX: u32 = 50;

/// Time for one more: 100 a second; the kernel drops the rest (F97).
pub const MDNS_PACKET_INTERVAL: Duration = Duration::from_millis(10);

/// Answers of mDNS that are sent at once.
pub const MDNS_ANSWERS_BURST_MAX: u32 = 20;

/// Time for one more: ten a second.
pub const MDNS_ANSWER_INTERVAL: Duration = Duration::from_millis(100);

/// Cables of this machine that its name is told at.
pub const MDNS_CABLES_MAX: usize = 8;

/// Time for which a browser keeps what it is known by; browsers allow 400 days.
pub const DEVICE_KEPT: Duration = Duration::from_secs(400 * 24 * 3600);

/// Longest file in the state directory, in bytes.
pub const STATE_BYTES_MAX: usize = 65_536;

/// Time that SIGTERM leaves for verdicts to come back (F70).
pub const DRAIN_MAX: Duration = Duration::from_secs(10);

// ---- names ---------------------------------------------------------------------------------

/// Longest worker name, in bytes (F17, QUIRKS 44).
pub const WORKER_NAME_BYTES_MAX: usize = 128;

/// Names that a connection may authorize where each goes to the pool (`identity.mode`). Firmware
/// uses one; a proxy behind the gateway may use a few.
pub const WORKERS_PER_MINER_MAX: usize = 8;

/// Bytes of the request id of an authorization that waits for its pool: with longer ids, which no
/// known firmware sends there, the miner hears yes at once.
pub const WAITING_ID_BYTES_MAX: usize = 24;

/// Names of miners that have left while their shares wait, over all links; 128 bytes each.
pub const KEPT_NAMES_MAX: usize = 16;

/// Bytes of the request id of a share whose miner waits for the pool's verdict: with longer ids,
/// which no known firmware sends, the miner hears yes at once. Recorded ids end at 11 bytes.
pub const REPLY_ID_BYTES_MAX: usize = 12;

/// Links whose answers about its names a connection remembers: the one that serves it and the one
/// before.
pub const STANDING_LINKS_MAX: usize = 2;

/// Authorizations of miners' workers that wait for a link's answer at once. At 100 ms to the pool
/// a thousand workers are asked for in 7 s, while their shares wait.
pub const AUTHORIZATIONS_MAX: usize = 16;

/// Time that a miner, and its shares, wait for the pool's answer about its worker; firmware gives a
/// pool up after 15 s and more without an answer, and a share that waits longer may be stale.
pub const AUTHORIZATION_WAIT_MAX: Duration = Duration::from_secs(10);

/// Time after the first answer to a name before the login is asked for once more.
pub const AUTHORIZATION_STEP: Duration = Duration::from_secs(2);

/// Time that answers to names have to come in before they are judged together: whether a pool takes
/// any but its login's (QUIRKS 52).
pub const NAMES_JUDGED_AFTER: Duration = Duration::from_secs(10);

/// Shares under names of their own that a pool refuses before that says something of all names,
/// where it has answered for none.
pub const NAMED_REFUSED_MIN: u16 = 2;

/// The same where the pool had granted the names.
pub const GRANTED_REFUSED_MIN: u16 = 8;

/// Longest password of a worker that is read for its parameters, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 128;

/// Longest part of a user agent that is kept, in bytes.
pub const USER_AGENT_BYTES_MAX: usize = 48;

/// Pools in the ordered list of the settings.
pub const POOLS_MAX: usize = 4;

/// Port of the page where nobody names another: that of HTTPS for who may not have 443.
pub const PAGE_PORT: u16 = 8443;

/// Listening addresses of the gateway.
pub const LISTEN_MAX: usize = 4;

/// Certificate pins of one pool: the one in use and those to rotate to.
pub const PINS_MAX: usize = 4;

/// Longest host name of a pool, in bytes (RFC 1035).
pub const HOST_BYTES_MAX: usize = 253;

/// Longest path of a file named in the settings, in bytes.
pub const PATH_BYTES_MAX: usize = 256;

/// Longest time that a keep-alive job is away, so that no miner declares the pool dead; miners
/// do after 90 s without a line (QUIRKS 38).
pub const KEEPALIVE_MAX: Duration = Duration::from_secs(60);

const _: () = assert!(EXTRANONCE2_BYTES_MIN == 1 + ROLL_BYTES_MIN);
const _: () = assert!(EXTRANONCE2_BYTES_MAX >= (MINER_ID_BYTES_MAX + ROLL_BYTES_MAX) as usize);
const _: () = assert!(EXTRANONCE2_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(2 * SMALL_TABLE_MINERS_MAX <= 1 << u8::BITS);
const _: () = assert!(ROLL_BYTES_MIN <= ROLL_BYTES_SHORT);
const _: () = assert!(ROLL_BYTES_SHORT <= ROLL_BYTES_PREFERRED);
const _: () = assert!(ROLL_BYTES_PREFERRED <= ROLL_BYTES_MAX);
// ---- miners --------------------------------------------------------------------------------

/// Miners that one gateway serves, at most. Two bytes of extranonce2 name 65,536, of which each
/// geometry takes a third.
pub const MINERS_MAX: usize = 16_384;

/// Miners that a gateway makes room for where nobody says how many: a large farm's. The room costs
/// memory from the start.
pub const MINERS_AUTO_MAX: usize = 10_000;

/// Bytes of worker names that one connection may hold: two of the longest, or many short ones.
pub const WORKERS_BYTES_MAX: usize = 2 * (WORKER_NAME_BYTES_MAX + 1);

/// Blocks of 256 two-byte ids that miners of one geometry go round in, at least and at most. Three
/// geometries of the largest table fit beside each other, and one of single-byte ids beside them.
pub const ID_BLOCKS_LEAST: usize = 8;
/// See [`ID_BLOCKS_LEAST`]; all miners of the largest table have one at the same time.
pub const ID_BLOCKS_MOST: usize = 80;

const _: () = assert!(ID_BLOCKS_MOST << 8 > MINERS_MAX && 3 * ID_BLOCKS_MOST <= 1 << 8);

/// Ids that did no work and are given out again at once, for each lane: who connects and closes
/// without end uses up none. The rest are given out again when it is their turn.
pub const IDS_SPARE_MAX: usize = 8;

/// Time that pools have to say how long their extranonce2 is, before the first miner is answered
/// all the same (F89).
pub const HEAR_MAX: Duration = Duration::from_secs(5);

/// Time for which the status says that a newcomer was refused because no id was free.
pub const NO_ID_SAID: Duration = Duration::from_secs(60);

/// Time from the connection to a subscription, in total and not per read (F19).
pub const SUBSCRIBE_DEADLINE: Duration = Duration::from_secs(10);

/// Time from the connection to an authorized worker, in total (F19).
pub const AUTHORIZE_DEADLINE: Duration = Duration::from_secs(15);

/// Lines that cannot be read, before the connection is closed (F06).
pub const INVALID_LINES_MAX: u8 = 3;

/// Requests that are readable but wrong or unknown, before the connection is closed (F09, F11).
/// A miner that restarts its handshake or asks for what few pools know stays far below.
pub const ODD_REQUESTS_MAX: u8 = 32;

/// Time after which one line, request or oddity of a peer is forgiven, so that what is rare never
/// adds up over months.
pub const FORGIVE_INTERVAL: Duration = Duration::from_secs(60);

/// Rejected submits in excess of accepted ones, before the connection is closed (F31). Stale
/// shares do not count, and an accepted share forgives [`REJECTS_FORGIVEN_BY_SHARE`].
pub const EXCESS_REJECTS_MAX: u16 = 512;

/// Rejected submits that one accepted share makes up for; honest miners stay near 2 % (F32).
pub const REJECTS_FORGIVEN_BY_SHARE: u16 = 8;

/// Addresses that are remembered for what their connections did against the protocol (F50). An
/// attacker with more of them gets the strict default for each.
pub const OFFENDERS_MAX: usize = 128;

/// Offences that one connection's budgets come to: what is booked for another protocol, a line
/// without end, or a budget that is used up.
pub const OFFENCES_OF_CONNECTION: u16 = 32;

/// Offences that an address may have to its account before it is refused: eight connections'.
pub const OFFENCES_ALLOWED: u16 = 8 * OFFENCES_OF_CONNECTION;

/// Time after which an offence is forgiven: a connection's in about [`FORGIVE_INTERVAL`], and a
/// refused address is taken again after four minutes.
pub const OFFENCE_FORGIVEN_IN: Duration = Duration::from_secs(2);

/// Offences that an accepted share from the same address makes up for. A hundred miners behind one
/// address, at a share in ten seconds each, outweigh a broken one that reconnects twice a second.
pub const OFFENCES_FORGIVEN_BY_SHARE: u64 = 8;

/// What a connection's budgets are divided by where there is no room to remember its address.
pub const STRICT_DIVISOR: u8 = 4;

/// Submits that a miner may send at once before the rate below holds.
pub const SUBMITS_BURST_MAX: u32 = 2_000;

/// Shares that one read of the table of seen ones looks at: a cache line of eight bytes each.
pub const SEEN_BUCKET_PLACES: usize = 8;

/// Places for seen shares that each miner of the table brings with it, 256 bytes. Five eighths of
/// them are 200 s of light shares at one in ten seconds, far more than any share is late.
pub const SEEN_PLACES_PER_MINER: usize = 32;

/// The fewest places that a gateway sets aside, 64 KiB: a small farm may have pools that begin low.
pub const SEEN_PLACES_LEAST: usize = 8192;

/// What of the places light shares may take, in eighths. Of two buckets of eight, the emptier is
/// then practically never full.
pub const SEEN_LIGHT_EIGHTHS: u32 = 5;

/// What of the places all shares may take, in eighths: two are for those that reach their pool.
pub const SEEN_HEAVY_EIGHTHS: u32 = 7;

/// Places apart for shares that reach their pool and find their buckets full.
pub const SEEN_SPARE: usize = 64;

/// The part of them that only block candidates may take.
pub const SEEN_SPARE_FOR_BLOCKS: usize = 16;

/// Announcements whose shares are remembered: those of all jobs that are kept.
pub const SEEN_GENERATIONS: usize = LINKS_MAX * JOBS_PER_LINK;

/// Announcements of the same work that are told apart; as many for the newest job of every link
/// leave some over.
pub const SEEN_GENERATIONS_OF_WORK: usize = JOBS_PER_LINK - 1;

/// Light shares that a miner may always send for a job, while there is any room.
pub const LIGHT_SHARES_LEAST: u32 = 16;

/// One in so many of the light shares that could yet be remembered a miner may send for one job:
/// one that sends without end leaves four fifths of the room to others.
pub const LIGHT_SHARES_PART: u32 = 4;

/// Age at which a job may be announced anew because its shares take too much room: its ntime must
/// have moved on, or they could be sent again for the new one.
pub const SEEN_RENEWAL_MIN: Duration = Duration::from_secs(1);

/// The same, because one miner sends more than its part.
pub const SEEN_RENEWAL_OF_ONE_MIN: Duration = Duration::from_secs(10);

/// Time after room was made in vain before it is looked for again.
pub const SEEN_RETRY: Duration = Duration::from_millis(20);

/// Difficulties and masks that a miner was told and whose jobs may still be alive.
pub const TOLD_DIFFICULTIES_MAX: usize = 8;

/// Accepted shares before vardiff may raise a difficulty: relative error 1/sqrt(8), a third.
pub const VARDIFF_SHARES_MIN: u32 = 8;

/// How far silence alone may lower the difficulty of a miner that has proven its hash-rate: one
/// that comes back after a pause must not flood.
pub const SILENCE_FALL_PROVEN: f64 = 16.0;

/// How far silence alone may lower a difficulty that no share has proven yet.
pub const SILENCE_FALL_UNPROVEN: f64 = 1024.0;

/// Accepted shares after which vardiff looks at the rate in any case.
pub const VARDIFF_WINDOW_SHARES: u32 = 30;

/// Parts in which a sweep goes over the table for deadlines and slow vardiff, so that no step of
/// it is long.
pub const SWEEP_PARTS: u32 = 4;

/// Time between two parts of a sweep: each slot is looked at once a second.
pub const SWEEP_STEP: Duration = Duration::from_millis(250);

/// Longest text of a pool that is kept for people, in bytes as it is shown: a line of a log.
pub const POOL_WORDS_BYTES_MAX: usize = 120;

/// Different words of refused shares that a link keeps for the miners that wait for them; pools
/// have as few as there are codes.
pub const POOL_WORDS_KEPT_MAX: usize = 8;

/// Longest text of an error answer, in bytes.
pub const ERROR_TEXT_BYTES_MAX: usize = 160;

/// Room for replies that `handle_input` needs in its output, in bytes: the longest reply, to a
/// subscribe with the longest id.
pub const REPLY_BYTES_MAX: usize = 512;

// ---- jobs and links ------------------------------------------------------------------------

/// Links that a gateway holds at once, over all pools and lanes.
pub const LINKS_MAX: usize = 16;

/// Lanes: groups of miners whose ids are unique within one link. One serves the whole farm
/// unless a pool's extranonce2 leaves a single byte for the miner id (DESIGN section 2).
pub const LANES_MAX: usize = 8;

/// Jobs that a link keeps for late shares (QUIRKS 36, 39).
pub const JOBS_PER_LINK: usize = 16;

/// Age at which a job that is no longer the newest dies (QUIRKS 39).
pub const JOB_AGE_MAX: Duration = Duration::from_secs(300);

/// Bytes that a link keeps for the second coinbase halves of its jobs; the largest fits twice.
pub const COINB2_STORE_BYTES: usize = 2 * COINB2_BYTES_MAX;

/// Bytes of an encoded notify line: the pool's line, with extranonce1 and pad added to it as hex
/// and a job id of our own.
pub const NOTIFY_LINE_BYTES_MAX: usize =
    UPSTREAM_LINE_BYTES_MAX + 2 * (EXTRANONCE1_BYTES_MAX + EXTRANONCE2_BYTES_MAX) + 128;

/// Room that `poll_output` needs in its output, in bytes: mask, difficulty, one notify.
pub const OUTPUT_BYTES_MIN: usize = NOTIFY_LINE_BYTES_MAX + REPLY_BYTES_MAX;

/// Shares of a link that wait to be sent or answered (F56, F91): 5,000 a second, three times what
/// ten thousand miners send where a pool begins low, for 0.8 s of answer time.
pub const PENDING_SHARES_MAX: usize = 4096;

/// The same of a link that serves a further lane: two for each of its 256 miners at the most.
pub const PENDING_SHARES_NARROW: usize = 512;

/// Of the room that a link's queue has left, one miner may take one part in so many (F91). However
/// much one sends, a third of the queue is left to the others at the least.
pub const PENDING_PER_MINER_PART: usize = 2;

/// One in so many of a queue's entries must have come free before miners that were held back for it
/// are asked again; the sweep asks them in any case.
pub const PENDING_PER_RELIEF: usize = 16;

/// Shortest submit, in bytes with its line end: a read of so many bytes for each share that there
/// is room for brings no share for which there is none. The shortest that is read as one has 76.
pub const SUBMIT_BYTES_MIN: usize = 64;

/// Shares a second that the gateway would send a pool, at the most: work is proven to a quarter of
/// a percent in a day by so many, and a few lines a second burden nobody.
pub const SUGGESTED_SHARES_PER_SEC: f64 = 4.0;

/// One in so many places of a queue that a pool's suggested difficulty would have in use.
pub const SUGGESTED_PER_QUEUE: usize = 64;

/// By how much the farm's rate must be another before a pool is asked for another difficulty.
pub const SUGGESTED_FACTOR: f64 = 4.0;

/// Time between two suggestions to a pool while the farm grows, as at its start.
pub const SUGGESTED_INTERVAL: Duration = Duration::from_secs(10);

/// The same where the farm has become smaller: that may pass.
pub const SUGGESTED_LOWER_INTERVAL: Duration = Duration::from_secs(300);

/// Time after a suggestion within which a pool that hangs up may do so because of it.
pub const SUGGESTED_CLOSE_MAX: Duration = Duration::from_secs(5);

/// Time over which the farm's rate is measured at once; older measures fade by a quarter with each.
pub const RATE_WINDOW: Duration = Duration::from_secs(2);

/// Shares that the first measure of the farm's rate needs.
pub const RATE_SHARES_MIN: u32 = 16;

/// Time without a lost share after which a queue counts as wide enough again.
pub const QUEUE_FULL_LASTS: Duration = Duration::from_secs(60);

/// One of so many of them only block candidates may take (F39). One is found in years; the rest
/// are for test networks.
pub const PENDING_PER_BLOCK_RESERVED: usize = 16;

/// The most of them that only block candidates may take.
pub const PENDING_BLOCKS_RESERVED: usize = 16;

/// Block candidates that are remembered until their pools answered, over all pools (F39).
pub const BLOCKS_KEPT_MAX: usize = PENDING_BLOCKS_RESERVED;

/// Least time between two jobs that a miner gets for its own wishes (F23): a wish is a few bytes,
/// and a job some kilobytes. NerdMiner repeats its wish every 30 s.
pub const WISH_INTERVAL: Duration = Duration::from_secs(10);

/// How far the time of a job that one miner gets for its wish is moved on, in seconds, beyond what
/// has passed: no job that all get is moved on so far but by a pool that sends the same work for
/// half an hour, so it is work that its miner was not given before.
pub const WISH_NTIME_SECS: u32 = NTIME_MOVED_SECS_MAX / 2;

/// How far a wish lies from what is in force, as a factor, for a miner to get a job for it at once.
pub const WISH_FACTOR: f64 = 2.0;

/// Jobs that a miner got under an id of its own, for late shares: those of the last
/// [`WISH_INTERVAL`], and one before.
pub const OWN_JOBS_MAX: usize = 2;

/// Time for which a block candidate is remembered that no pool has decided about: the chain has
/// gone on by some 144 blocks then, and no late block outruns them.
pub const BLOCK_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Found blocks that may be written while everybody waits for the disk, at once and then again
/// after each [`BLOCK_WRITE_INTERVAL`]; more are written a second later.
pub const BLOCK_WRITES_BURST_MAX: u32 = 16;

/// Time after which one more such write is allowed.
pub const BLOCK_WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// Room for one line to a pool, in bytes: an authorize with the longest name and password, each
/// byte of them escaped.
pub const LINK_OUTPUT_BYTES_MIN: usize = 2048;

/// Time that shares are held while a link is down (F56, DESIGN section 4).
pub const HOLD_MAX: Duration = Duration::from_secs(30);

/// Time that a pool has to answer a share (F41).
pub const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Time that a pool has for each step of the handshake; NiceHash was seen to leave
/// mining.configure without an answer, so that step is passed over when its time is up.
pub const LINK_STEP_MAX: Duration = Duration::from_secs(5);

/// Time from the connection of a link to its first job; longer is a dead pool.
pub const LINK_HANDSHAKE_MAX: Duration = Duration::from_secs(20);

/// Time without a job after which an open link is recycled (F59).
pub const JOB_SILENCE_MAX: Duration = Duration::from_secs(120);

/// Oddities that a link may show (unknown methods, refused values, broken lines) before it is
/// closed (F34).
pub const LINK_ODDITIES_MAX: u16 = 64;

/// Connections in a row that a pool closes at mining.configure, without a word, before it is tried
/// without (QUIRKS 12): the first may be chance.
pub const CLOSED_AT_CONFIGURE_MAX: u8 = 2;

/// Time after which such a pool is asked to configure again, at the next connection.
pub const CONFIGURE_AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// Longest time between two dials of a pool while nobody serves its goal (F95): one that can be
/// reached again has the farm within 5 s, handshake and all.
pub const RETRY_UNSERVED_MAX: Duration = Duration::from_secs(4);

/// Least time between two redirections that a pool asks for (F82).
pub const RECONNECT_INTERVAL_MIN: Duration = Duration::from_secs(60);

/// Goals that the farm's work is divided among; every goal has a pool at least.
pub const GOALS_MAX: usize = POOLS_MAX;

/// Bytes of a goal's name in the settings.
pub const GOAL_NAME_BYTES_MAX: usize = 32;

/// Score below which a link's circuit opens (`crate::health`).
pub const HEALTH_FAULT: u8 = 40;

/// Score that a link needs throughout before its circuit closes again.
pub const HEALTH_GOOD: u8 = 70;

/// Answers after which a miner that was not heard meanwhile says nothing of its pool any more, once
/// [`HEALTH_HEARD_MAX`] has passed as well.
pub const HEALTH_ANSWERS: u8 = 32;

/// Time for which what one miner was answered counts, however many answers others have.
pub const HEALTH_HEARD_MAX: Duration = Duration::from_secs(120);

/// Miners whose answers a link's score looks at, over all addresses.
pub const HEALTH_VOICES: usize = 16;

/// Answers to each of them that are looked at, two bits each in a u16.
pub const HEALTH_VOICE_ANSWERS: u8 = 8;

/// Answers to all of them before refusals count.
pub const HEALTH_ANSWERS_LEAST: u32 = 8;

/// Time over which it is counted how many of a miner's shares are repeats.
pub const REPEATS_WINDOW: Duration = Duration::from_secs(60);

/// Repeats within it that are no accident, where they are also a part of all submits
/// ([`REPEATS_PART`]). Firmware that begins its extranonce2 anew at each job repeats 2 %
/// (QUIRKS 24), and up to 13 % where the pool sends identical work again (QUIRKS 53).
pub const REPEATS_LEAST: u32 = 32;

/// One in so many submits must be a repeat.
pub const REPEATS_PART: u32 = 4;

/// Time for which a miner is called one that repeats its shares; it is said once in it.
pub const REPEATS_SAID: Duration = Duration::from_secs(300);

/// What the loss of a live connection takes from the score.
pub const HEALTH_LOSS: u8 = 15;

/// What lost connections take from the score at most: too little to open a circuit for good.
pub const HEALTH_LOSSES_MAX: u8 = 30;

/// Time after which a point of what losses took is given back.
pub const HEALTH_FORGIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Time without any line of a pool, while a share waits for its answer, after which the
/// connection is taken for dead and made anew (F63): a NAT may have forgotten it.
pub const UNRESPONSIVE_MAX: Duration = Duration::from_secs(45);

/// Time over which a pool's answers are judged: a person should hear within a minute that nothing
/// is earned (F93).
pub const UNPAID_AFTER: Duration = Duration::from_secs(60);

/// Answers of that time before their parts mean anything.
pub const UNPAID_ANSWERS_MIN: u32 = 8;

/// Shares without an answer, or refused in a row, that mean something after [`UNPAID_AFTER`]: one
/// alone may be an accident.
pub const UNPAID_SHARES_MIN: u32 = 3;

/// Shares refused in a row that mean something however long they took.
pub const REFUSALS_IN_A_ROW: u32 = 20;

/// Shares taken in a row that end the trouble; a pool that refuses every second is seldom so good.
pub const PAID_SHARES_MIN: u32 = 8;

/// Least time between two sessions that are asked for because the one before earns nothing.
pub const RENEWAL_INTERVAL_MIN: Duration = Duration::from_secs(60);

/// How often that time doubles in vain: to 8 minutes, as nobody else pays meanwhile.
pub const RENEWAL_DOUBLINGS_MAX: u8 = 3;

/// The same where another pool pays, and every trial costs a few shares: to about an hour.
pub const RENEWAL_DOUBLINGS_SPARE_MAX: u8 = 6;

const _: () = assert!(UNPAID_AFTER.as_micros() > ANSWER_MAX.as_micros());

/// Shares within which the split makes good what a goal lacks.
pub const SPLIT_HORIZON_SHARES: f64 = 64.0;

/// The shortest time within which the split makes good what a goal lacks.
pub const SPLIT_HORIZON_MIN: Duration = Duration::from_secs(2);

/// The longest time within which the split makes good what a goal lacks.
pub const SPLIT_HORIZON_MAX: Duration = Duration::from_secs(30);

/// Time that a miner works for a goal at least before it is moved to another.
pub const SPLIT_DWELL: Duration = Duration::from_secs(2);

const _: () = assert!(
    UNRESPONSIVE_MAX.as_micros() > ANSWER_MAX.as_micros()
        && UNRESPONSIVE_MAX.as_micros() < JOB_SILENCE_MAX.as_micros()
);
const _: () = assert!(HEALTH_FAULT < HEALTH_GOOD, "hysteresis needs two thresholds");
const _: () = assert!(2 * HEALTH_VOICE_ANSWERS as u32 <= u16::BITS);
const _: () = assert!(100 - HEALTH_LOSSES_MAX >= HEALTH_GOOD, "losses alone keep no circuit open");

/// Time that a link which miners have left stays open for their late shares.
pub const LINGER: Duration = Duration::from_secs(30);

/// Events kept for the log until the owner takes them; the oldest is dropped when full.
pub const EVENTS_MAX: usize = 64;

/// Longest notify that is kept when it comes before the answer to mining.subscribe (QUIRKS 10), in
/// bytes: those on record have at most 2.5 KB, and it is read from a copy on the stack. A longer
/// one is passed over, and the next is used.
pub const EARLY_LINE_BYTES_MAX: usize = 4096;

// ---- updates -------------------------------------------------------------------------------

/// Longest signature and manifest before the image of an update, in bytes: they have about 600.
pub const UPDATE_HEADER_BYTES_MAX: usize = 2048;

/// Longest text of a manifest's value, in bytes: a version of semver with all its parts.
pub const UPDATE_TEXT_BYTES_MAX: usize = 64;

/// Largest image of a slot, in bytes; the slot's own size is what counts on a board.
pub const UPDATE_IMAGE_BYTES_MAX: u64 = 64 << 20;

/// Keys that updates may be signed by: a few of the maker's and of the operator's.
pub const UPDATE_KEYS_MAX: usize = 16;

/// Longest file with a key, in bytes: minisign's have 113.
pub const UPDATE_KEY_BYTES_MAX: usize = 1024;

/// Bytes that are written to a slot, or read back, at once.
pub const UPDATE_CHUNK_BYTES: usize = 16_384;

/// How often a new system is started before the old one is again.
pub const UPDATE_TRIES: u8 = 2;

/// Time without a byte of an update, or of the answer of who writes it, after which it is given up:
/// a slow flash takes some seconds to be written through and read back.
pub const UPDATE_SILENCE_MAX: Duration = Duration::from_secs(60);

/// Time that the whole of an update may take to come.
pub const UPDATE_TIME_MAX: Duration = Duration::from_secs(30 * 60);

/// Time in which a new system must be well, unless its board says another: miners that were cut off
/// try again within a minute or two.
pub const UPDATE_HEALTH_DEFAULT: Duration = Duration::from_secs(300);

/// The most that a board may say. The first program of the image starts the machine anew after
/// 900 s (`xtask/image/initramfs-init`), whatever the new system does.
pub const UPDATE_HEALTH_MAX: Duration = Duration::from_secs(600);

/// How many of the miners that were there before must be back, in percent.
pub const UPDATE_MINERS_BACK_PERCENT: u64 = 50;

/// Longest line between the gateway and who keeps the slots, in bytes.
pub const UPDATE_LINE_BYTES_MAX: usize = 1024;

/// Links that every gateway can hold, whatever its board: two to each pool, the one in use and
/// the one that takes over from it.
pub const LINKS_MIN: usize = 2 * POOLS_MAX;

const _: () = assert!(SEEN_LIGHT_EIGHTHS < SEEN_HEAVY_EIGHTHS && SEEN_HEAVY_EIGHTHS < 8);
const _: () = assert!(SEEN_SPARE_FOR_BLOCKS < SEEN_SPARE);
const _: () = assert!(LINKS_MAX * SEEN_GENERATIONS_OF_WORK < SEEN_GENERATIONS);
const _: () = assert!(SEEN_PLACES_PER_MINER.is_multiple_of(SEEN_BUCKET_PLACES));
const _: () = assert!(SEEN_PLACES_LEAST.is_multiple_of(SEEN_BUCKET_PLACES));
const _: () = assert!(LINKS_MIN <= LINKS_MAX);
const _: () = assert!(SPILL_BYTES_MAX <= SPILLS_BYTES_MAX);
const _: () = assert!(LANES_MAX <= LINKS_MAX, "every lane needs a link");
const _: () = assert!(COINB2_STORE_BYTES >= COINB2_BYTES_MAX);
const _: () = assert!(COINB2_STORE_BYTES == UPSTREAM_LINE_BYTES_MAX, "`LinkSizes::coinb2_bytes`");
const _: () = assert!(PENDING_BLOCKS_RESERVED < PENDING_SHARES_MAX);
const _: () = assert!(REPLY_BYTES_MAX >= ID_BYTES_MAX + 2 * ERROR_TEXT_BYTES_MAX + 64);
const _: () = assert!(KEEPALIVE_MAX.as_micros() < Duration::from_secs(90).as_micros());
const _: () = assert!(SUBSCRIBE_DEADLINE.as_micros() <= AUTHORIZE_DEADLINE.as_micros());
