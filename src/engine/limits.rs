//! Every capacity, length and time limit of the engine, with its meaning, unit and reason (B1).
//!
//! No other file holds a magic number. A board profile (`board/*.toml`) or a setting may lower a
//! limit, never raise it. The end of the file asserts at compile time how the numbers relate and
//! sums the engine's memory.

use crate::time::Duration;

// ---- lines and JSON ------------------------------------------------------------------------

/// Longest line from a miner, in bytes without its line end (F03, F04). The longest recorded is
/// under 600 bytes; ckpool drops lines above 1,024.
pub const DOWNSTREAM_LINE_BYTES_MAX: usize = 4096;

/// Longest line from a pool, in bytes without its line end (F05). The longest recorded is the
/// 25 kB notify of a p2pool (`pool-p2pool-dogecoin.txt`).
pub const UPSTREAM_LINE_BYTES_MAX: usize = 65_536;

/// The lowest value that a board may set for that limit, in bytes. A plain notify of a full block,
/// with 14 branches and a coinbase of 1 kB, has less than 4,000.
pub const UPSTREAM_LINE_BYTES_LEAST: usize = 4096;

/// Deepest nesting of arrays and objects in a line (F07). A subscribe result needs 4.
pub const JSON_DEPTH_MAX: usize = 8;

/// Longest id that is echoed, in bytes of raw JSON text (F08). Recorded ids end at 11 bytes.
pub const ID_BYTES_MAX: usize = 64;

/// Longest JSON number that is read, in bytes (F07).
pub const NUMBER_BYTES_MAX: usize = 40;

/// Params that the scan of a line keeps; later ones are counted and found on demand. A notify has
/// 9; one pool sends 10.
pub const PARAMS_KEPT_MAX: usize = 10;

/// Longest known method name with escapes, in bytes.
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

/// Shortest extranonce2 of a pool that can be divided among miners, in bytes: one byte for the
/// miner id, and [`ROLL_BYTES_MIN`] for each miner's roll.
pub const EXTRANONCE2_BYTES_MIN: u8 = 3;

/// Most bytes of an extranonce2 used as miner id: 65,536 ids are more than one machine has
/// connections.
pub const MINER_ID_BYTES_MAX: u8 = 2;

/// Largest table for one-byte miner ids. Half of the 256 ids stay free for miners that arrive with
/// another geometry while all others are connected.
pub const SMALL_TABLE_MINERS_MAX: usize = 128;

/// Fewest bytes that a miner rolls. At 2^32 nonces per roll, 65,536 rolls last a 1 PH/s miner 280
/// ms without version rolling. With the 16 bits of BIP-0320 they last 5 h.
pub const ROLL_BYTES_MIN: u8 = 2;

/// Most bytes that a miner rolls. Firmwares keep their extranonce2 in 64 bits.
pub const ROLL_BYTES_MAX: u8 = 8;

/// Bytes that a miner rolls if the pool's extranonce2 has room, as most pools' has.
pub const ROLL_BYTES_PREFERRED: u8 = 4;

/// Bytes that a miner rolls while the pool's extranonce2 is short or unknown. A pool with 4 bytes,
/// the common minimum, still serves miners answered before it was heard.
pub const ROLL_BYTES_SHORT: u8 = 2;

/// Longest second half of a coinbase (`coinb2`), in bytes: hex that fits a line of the maximum size
/// beside an empty `coinb1`.
pub const COINB2_BYTES_MAX: usize = UPSTREAM_LINE_BYTES_MAX / 2;

/// Longest session id of a pool kept to resume the session, in bytes. Recorded: 8 to 36. A longer
/// one is not kept.
pub const SESSION_BYTES_MAX: usize = 64;

/// Longest job id of a pool, in bytes. Recorded: 1 to 38.
pub const POOL_JOB_ID_BYTES_MAX: usize = 64;

/// Highest difficulty accepted from a pool (F34). The network's passed 1e14 in 2025, and no share
/// needs to be heavier than a block. Far above that, no share would ever be sent.
pub const POOL_DIFFICULTY_MAX: f64 = 1e18;

/// Lowest difficulty accepted from a pool (F34). Below 2^-32 every hash is a share, so a lower
/// value adds nothing. Its digits would only lengthen each miner's line.
pub const POOL_DIFFICULTY_MIN: f64 = 1e-12;

/// How far a share's ntime may lie ahead of its job's, in seconds (QUIRKS 40; ckpool's bound).
pub const NTIME_AHEAD_SECS_MAX: u32 = 7000;

/// Largest ntime step of a job that is announced again, in seconds, so that it is new work. Pools
/// accept up to two hours ahead; half of [`NTIME_AHEAD_SECS_MAX`] is left to miners.
pub const NTIME_MOVED_SECS_MAX: u32 = NTIME_AHEAD_SECS_MAX / 2;

// ---- settings ------------------------------------------------------------------------------

/// Longest address of a pool as text, in bytes: scheme, host and port.
pub const URL_BYTES_MAX: usize = HOST_BYTES_MAX + 24;

/// Longest text of any one setting, in bytes: a list of patterns, or of hosts, with commas.
pub const SETTING_BYTES_MAX: usize = 1088;

/// Patterns of worker names and ranges of addresses that admit miners: one per hall, and spares.
pub const ADMIT_MAX: usize = 16;

/// Longest pattern of a worker's name, in bytes.
pub const PATTERN_BYTES_MAX: usize = 64;

/// Extra host names that the page answers to, besides its built-in ones.
pub const WEB_HOSTS_MAX: usize = 4;

/// Longest label of a host's name, in bytes (RFC 1035).
pub const HOST_LABEL_BYTES_MAX: usize = 63;

/// Longest name of a serial port, in bytes.
pub const DEVICE_NAME_BYTES_MAX: usize = 32;

const _: () = assert!(ADMIT_MAX * (PATTERN_BYTES_MAX + 1) <= SETTING_BYTES_MAX);
const _: () = assert!(WEB_HOSTS_MAX * (HOST_BYTES_MAX + 1) <= SETTING_BYTES_MAX);

// ---- the serial line -----------------------------------------------------------------------

/// Longest line of the console, in bytes without its line end (F73).
pub const CONSOLE_LINE_BYTES_MAX: usize = 256;

/// Lines of the console's history; the oldest is dropped.
pub const CONSOLE_HISTORY_MAX: usize = 8;

/// Letters of a terminal escape sequence; the longest known one has 3.
pub const ESCAPE_BYTES_MAX: u8 = 8;

/// Longest frame, in bytes with its checksum, before COBS and zeroes. An [`Item`] holds the longest
/// setting twice, with a key and headers. A longer log line is cut.
///
/// [`Item`]: crate::control::Item
pub const FRAME_BYTES_MAX: usize = 2560;

/// Bytes of a frame on the line: COBS adds one per 254, and a zero stands at both ends.
pub const FRAME_WIRE_BYTES_MAX: usize = FRAME_BYTES_MAX + FRAME_BYTES_MAX / 254 + 4;

/// Bytes of one answer on the serial line; the rest is left out, and the answer says so. It takes
/// eleven seconds at 115,200 bits per second.
pub const SERIAL_ANSWER_BYTES_MAX: usize = 131_072;

/// Output that nobody reads is dropped after this time.
pub const SERIAL_UNREAD_MAX: Duration = Duration::from_secs(5);

/// A partial frame is dropped after this time without a byte; later bytes go to the console.
pub const SERIAL_SILENCE: Duration = Duration::from_millis(500);

/// Interval between two attempts to open a missing serial port.
pub const SERIAL_RETRY: Duration = Duration::from_secs(1);

/// Time after a greeting on the serial line before Enter brings another: noise that reads as line
/// ends brings few bytes.
pub const SERIAL_GREETING_INTERVAL: Duration = Duration::from_secs(2);

/// Longest text of a frame with no other field of variable length.
pub const FRAME_TEXT_BYTES_MAX: usize = FRAME_BYTES_MAX - 128;

const _: () = assert!(FRAME_BYTES_MAX >= 2 * SETTING_BYTES_MAX + 256, "from, to and the key");

// ---- the gateway ---------------------------------------------------------------------------

/// Bytes of the read buffer that all miners share.
pub const READ_BYTES_MAX: usize = 16_384;

/// Bytes buffered for a miner whose socket is full: the longest output and the answers to one read.
/// A miner with buffered bytes is not read and gets no further job (F46).
pub const SPILL_BYTES_MAX: usize = OUTPUT_BYTES_MIN + 4 * READ_BYTES_MAX;

/// Total bytes buffered for all miners with full sockets; a board's profile may lower it. A miner
/// that would exceed it is closed (F46).
pub const SPILLS_BYTES_MAX: usize = 1 << 26;

/// Memory of a connection outside the engine, in bytes: its task, its port, its runtime socket, its
/// address at the door. 10,000 connections were measured at under 1,100 each.
pub const CONNECTION_BYTES_MAX: usize = 1536;

/// Memory of a link outside the engine, in bytes: lines not sent yet, and the TLS buffers in both
/// directions, by rustls' own limits.
pub const LINK_CONNECTION_BYTES_MAX: usize = 262_144;

/// Memory of the process without miners, in bytes: the program, the web roots, the runtime, the
/// stacks of its few threads. Measured at 9.4 MB in a debug build, with the engine for one miner.
pub const PROCESS_BYTES_MAX: usize = 12 << 20;

/// Longest kernel file read to learn about the machine, in bytes.
pub const KERNEL_FILE_BYTES_MAX: usize = 65_536;

/// Longest name of a board's profile, in bytes.
pub const BOARD_NAME_BYTES_MAX: usize = 32;

/// Connections that wait to be accepted; Linux's own limit (`net.core.somaxconn`).
pub const LISTEN_BACKLOG: u32 = 4096;

/// Minimum interval between two submits of a miner, on average: 2,000 a second, which cost a
/// fiftieth of a core. Real miners send one in seconds.
pub const SUBMIT_INTERVAL: Duration = Duration::from_micros(500);

/// File descriptors besides the miners': listeners, links, the status and page ports with their
/// connections, the runtime, files.
pub const FILES_BESIDE_MINERS: u64 =
    (LISTEN_MAX + LINKS_MAX + 2 + HTTP_CONNECTIONS_MAX + 10) as u64;

/// One log line of each kind is printed per this interval (F52).
pub const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Longest settings file, in bytes; a complete file has under 8 KiB.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;

/// Uncommitted changes of one operator: every key, and as many again.
pub const EDITS_MAX: usize = 128;

/// A commit that may cut the operator off is taken back unless confirmed within this time.
pub const CONFIRM_MAX: Duration = Duration::from_secs(120);

/// Commits allowed in a burst; one more is allowed after each [`COMMIT_INTERVAL`]. Each writes a
/// few hundred bytes to flash, at most 1,440 writes a day. A partition of 4 MiB with blocks of 128
/// KiB, each good for 10,000 writes, bears that for 200 days. A farm makes a few commits a week.
pub const COMMITS_BURST_MAX: u32 = 16;

/// See [`COMMITS_BURST_MAX`].
pub const COMMIT_INTERVAL: Duration = Duration::from_secs(60);

/// Interval between two attempts to take a commit back.
pub const TAKE_BACK_INTERVAL: Duration = Duration::from_secs(10);

/// Interval between two checks whether the settings file was edited.
pub const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Longest file of the audit log, in bytes. There are two; the older is dropped when both are full.
/// An entry takes about 60 bytes, so over a thousand are kept.
pub const AUDIT_SEGMENT_BYTES_MAX: usize = 65_536;

/// Longest text of an audit entry, in bytes: one for the request, one for its result.
pub const AUDIT_TEXT_BYTES_MAX: usize = 256;

/// Audit entries written at once in a burst. After it, one write per [`AUDIT_WRITE_INTERVAL`] holds
/// all waiting entries. Password guessing therefore causes at most 8,640 flash writes a day.
pub const AUDIT_WRITES_BURST_MAX: u32 = 64;

/// See [`AUDIT_WRITES_BURST_MAX`].
pub const AUDIT_WRITE_INTERVAL: Duration = Duration::from_secs(10);

/// Audit entries that wait to be written; further ones are only counted.
pub const AUDIT_WAITING_MAX: usize = 64;

/// Tasks that may wait for the disk thread at once: one per connection of the page. Further tasks
/// queue for a turn.
pub const DISK_ASKERS_MAX: usize = HTTP_CONNECTIONS_MAX;

/// Stores and journals, each with its own place in the disk thread's queue.
pub const DISK_KEEPERS_MAX: usize = 16;

/// Time that a request waits for its change to be on disk; then it is answered "not yet".
pub const DISK_ANSWER_MAX: Duration = Duration::from_secs(10);

/// Time that shutdown waits for pending writes.
pub const DISK_FINISH_MAX: Duration = Duration::from_secs(10);

/// Interval between two attempts of a failed write.
pub const DISK_RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Log lines kept for display; the oldest is dropped.
pub const LOG_LINES_KEPT_MAX: usize = 200;

/// Longest log line kept for display, in bytes; the rest is cut.
pub const LOG_LINE_BYTES_MAX: usize = 512;

/// Longest of the two frame files, in bytes; the older is dropped when both are full. An event
/// takes about 15 bytes, so each file holds over 4,000.
pub const FRAMES_FILE_BYTES_MAX: usize = 65_536;

/// Longest frame, in bytes: the longest event has a hash and a name. A longer one is dropped.
pub const EVENT_FRAME_BYTES_MAX: usize = 256;

/// Bytes of frames that wait to be written; further frames are only counted.
pub const FRAMES_WAITING_BYTES_MAX: usize = 4096;

const _: () =
    assert!(FRAMES_WAITING_BYTES_MAX + 256 < FRAMES_FILE_BYTES_MAX, "a batch fits a file");

/// Batches of frames written within a second. After the burst, one write per
/// [`FRAMES_WRITE_INTERVAL`] holds all waiting frames. Events therefore cause at most 1,440 flash
/// writes a day.
pub const FRAMES_WRITES_BURST_MAX: u32 = 16;

/// See [`FRAMES_WRITES_BURST_MAX`].
pub const FRAMES_WRITE_INTERVAL: Duration = Duration::from_secs(60);

/// Miners in one answer; a request may skip a number of miners to get the rest.
pub const MINERS_LISTED_MAX: usize = 100;

/// Time limit for resolving a pool's name (F61).
pub const RESOLVE_MAX: Duration = Duration::from_secs(8);

/// Time limit for connecting to one address of a pool; the next address follows.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Addresses of a pool's name tried in one attempt.
pub const ADDRESSES_TRIED_MAX: usize = 4;

/// Time limit for a TLS handshake with a pool.
pub const TLS_HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Gateways listed by `ctl find`.
pub const FOUND_MAX: usize = 1024;

/// Password-admitted workers; a pattern counts as one, so a farm needs few. All fit one store.
pub const ADMITTED_MAX: usize = 256;

const _: () = assert!(ADMITTED_MAX * (PATTERN_BYTES_MAX + 160) < STATE_BYTES_MAX, "all are kept");

/// Logins of miners that wait for a password hash; one hash takes about 0.1 s on a router.
pub const ADMISSIONS_WAITING_MAX: usize = 256;

/// Wrong passwords remembered, so that no second hash is needed.
pub const ADMISSIONS_REFUSED_KEPT: usize = 256;

/// Time limit for an operator's trial of a pool: nearly the worst case of all its steps.
pub const PROBE_MAX: Duration = Duration::from_secs(45);

/// Lines of a pool that a trial reads; a pool sends five before its first job.
pub const PROBE_LINES_MAX: usize = 64;

/// Certificates of a pool shown by a trial; chains in use have two to four.
pub const CERTIFICATES_SHOWN_MAX: usize = 8;

/// Characters of one certificate text shown by a trial.
pub const CERTIFICATE_TEXT_CHARS_MAX: usize = 128;

/// TLS sessions kept for resumption, per pool.
pub const TLS_SESSIONS_MAX: usize = 8;

/// Longest certificate file, in bytes; Debian's bundle of all web roots has 220 kB.
pub const CA_FILE_BYTES_MAX: usize = 1 << 20;

/// Time until the slot of a miner with a pulled cable is free (F47), whatever was sent meanwhile.
/// It also bounds the reconnect of a link that a NAT forgot (F63).
pub const PEER_GONE_MAX: Duration = Duration::from_secs(90);

/// Time limit for unacknowledged bytes, and for silence with keep-alive probes, before the kernel
/// drops a connection. Both may run one after the other: bytes sent just before the silence ends
/// start their own limit. So it is less than half of [`PEER_GONE_MAX`].
pub const USER_TIMEOUT: Duration = Duration::from_secs(40);

/// Network connections that the page serves at once (F74): a browser's six and some more. Each
/// serves one request.
pub const HTTP_PAGE_CONNECTIONS_MAX: usize = 10;

/// The same for the status port (F97): a browser's six.
pub const HTTP_STATUS_CONNECTIONS_MAX: usize = 6;

/// The same for this machine, at both ports: a browser's six, one of them for a health check (F97).
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

/// Time limit for a request's head, and again for its body and answer (F74).
pub const HTTP_TIMEOUT: Duration = Duration::from_secs(5);

/// Concurrent TLS handshakes among them, so that stalled ones leave places (F53).
pub const HTTP_HANDSHAKES_MAX: usize = 8;

/// The same per address.
pub const HTTP_HANDSHAKES_PER_ADDRESS_MAX: usize = 4;

/// Handshakes that an address may begin at once; one load of the page needs about ten.
pub const HTTP_HANDSHAKES_BURST_MAX: u32 = 128;

/// Time until it may begin another one; a page in several tabs asks less often.
pub const HTTP_HANDSHAKE_INTERVAL: Duration = Duration::from_millis(50);

/// Addresses with a count of handshakes.
pub const HTTP_HANDSHAKE_ADDRESSES_MAX: usize = 64;

/// TLS sessions kept for browsers to resume.
pub const HTTP_TLS_SESSIONS_MAX: usize = 32;

/// TLS memory of one connection to the page, in bytes: a record in each direction, and the state of
/// its keys.
pub const HTTP_TLS_BYTES_MAX: usize = 65_536;

/// Certificates in an uploaded chain for the page.
pub const CERTIFICATES_MAX: usize = 8;

/// Connections per address (per IPv6 /64) at a port; a browser opens six at once. One address with
/// idle connections leaves room for others.
pub const HTTP_CONNECTIONS_PER_ADDRESS_MAX: usize = 8;

/// Time limit for carrying out a request. The trial of a pool takes longest, and must report its
/// failure.
pub const HTTP_WORK_TIMEOUT: Duration = Duration::from_secs(PROBE_MAX.as_secs() + 15);

/// Login sessions open at once.
pub const SESSIONS_MAX: usize = 16;

/// A session without a request ends after this time.
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(30 * 60);

/// A session ends after this time, however active.
pub const SESSION_MAX: Duration = Duration::from_secs(12 * 3600);

/// The same for a session opened by the set-up code: the time to set a gateway up.
pub const SETUP_SESSION_MAX: Duration = Duration::from_secs(3600);

/// Wrong passwords per address without a wait (F76).
pub const ATTEMPTS_FREE: u32 = 3;

/// Wait after the first wrong password beyond those; it doubles with each further one.
pub const ATTEMPT_WAIT_MIN: Duration = Duration::from_secs(1);

/// Wrong passwords until an address is locked out.
pub const ATTEMPTS_MAX: u32 = 10;

/// Length of a lock-out; wrong passwords are forgotten after the same time.
pub const ATTEMPTS_LOCK: Duration = Duration::from_secs(15 * 60);

/// Addresses with their own count of wrong passwords; further ones share counts.
pub const ATTEMPTS_KEPT_MAX: usize = 256;

/// Shared counts for addresses beyond that table. More counts make it rarer that a stranger's
/// guesses delay a login, but allow more guesses from many addresses (F98).
pub const ATTEMPT_COUNTS_SHARED: usize = 16;

/// Longest wait of a shared count, which never locks out. All counts together allow two guesses a
/// second: one in six hundred of the set-up code's 10^8 values a day.
pub const ATTEMPT_WAIT_SHARED_MAX: Duration = Duration::from_secs(8);

/// Longest wait for this machine, and for a browser that logged in before; neither is locked out
/// (F98).
pub const ATTEMPT_WAIT_KNOWN_MAX: Duration = Duration::from_secs(30);

/// Browsers with their own count of wrong passwords; beyond that, the oldest error is forgotten.
/// Each browser has shown its role's password before.
pub const DEVICES_COUNTED_MAX: usize = 16;

/// Conflicting mDNS names that get a numbered suffix; after these, the name gets a part of the
/// machine's address (F97).
pub const MDNS_RENAMES_MAX: u32 = 3;

/// Time without a name if that name is taken too.
pub const MDNS_QUIET: Duration = Duration::from_secs(600);

/// Longest mDNS packet that is read, in bytes: one Ethernet payload.
pub const MDNS_PACKET_BYTES_MAX: usize = 1500;

/// mDNS packets read in a burst. A farm of a thousand devices sends a few queries a second.
pub const MDNS_PACKETS_BURST_MAX: u32 = 50;

/// Interval for one more packet: 100 a second; the kernel drops the rest (F97).
pub const MDNS_PACKET_INTERVAL: Duration = Duration::from_millis(10);

/// mDNS answers sent in a burst.
pub const MDNS_ANSWERS_BURST_MAX: u32 = 20;

/// Interval for one more answer: ten a second.
pub const MDNS_ANSWER_INTERVAL: Duration = Duration::from_millis(100);

/// Network interfaces that the name is announced on.
pub const MDNS_CABLES_MAX: usize = 8;

/// Lifetime of a browser's device cookie; browsers allow 400 days.
pub const DEVICE_KEPT: Duration = Duration::from_secs(400 * 24 * 3600);

/// Longest file in the state directory, in bytes.
pub const STATE_BYTES_MAX: usize = 65_536;

/// Time that SIGTERM leaves for pending verdicts (F70).
pub const DRAIN_MAX: Duration = Duration::from_secs(10);

// ---- names ---------------------------------------------------------------------------------

/// Longest worker name, in bytes (F17, QUIRKS 44).
pub const WORKER_NAME_BYTES_MAX: usize = 128;

/// Names that a connection may authorize if each goes to the pool (`identity.mode`). Firmware uses
/// one; a proxy behind the gateway may use a few.
pub const WORKERS_PER_MINER_MAX: usize = 8;

/// Bytes of the request id of an authorization that waits for its pool. With a longer id, which no
/// known firmware sends, the miner hears yes at once.
pub const WAITING_ID_BYTES_MAX: usize = 24;

/// Names of departed miners with waiting shares, over all links; 128 bytes each.
pub const KEPT_NAMES_MAX: usize = 16;

/// Bytes of the request id of a share whose miner waits for the pool's verdict. With a longer id,
/// which no known firmware sends, the miner hears yes at once. Recorded ids end at 11 bytes.
pub const REPLY_ID_BYTES_MAX: usize = 12;

/// Links whose verdicts on names a connection remembers: the serving link and the previous one.
pub const STANDING_LINKS_MAX: usize = 2;

/// Authorizations of workers in flight per link. At 100 ms to the pool, a thousand workers take 7
/// s, while their shares wait.
pub const AUTHORIZATIONS_MAX: usize = 16;

/// Time that a miner and its shares wait for the pool's verdict on its worker. Firmware gives up on
/// a pool after 15 s or more, and a share that waits longer may be stale.
pub const AUTHORIZATION_WAIT_MAX: Duration = Duration::from_secs(10);

/// Delay after the first verdict on a name before the login is asked for again.
pub const AUTHORIZATION_STEP: Duration = Duration::from_secs(2);

/// Time over which verdicts on names are collected, before deciding whether the pool takes names
/// other than its login's (QUIRKS 52).
pub const NAMES_JUDGED_AFTER: Duration = Duration::from_secs(10);

/// Refused shares under own names that count against all names, if the pool answered no
/// authorization.
pub const NAMED_REFUSED_MIN: u16 = 2;

/// The same if the pool had granted the names.
pub const GRANTED_REFUSED_MIN: u16 = 8;

/// Longest password of a worker that is read for its parameters, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 128;

/// Longest part of a user agent that is kept, in bytes.
pub const USER_AGENT_BYTES_MAX: usize = 48;

/// Pools in the ordered list of the settings.
pub const POOLS_MAX: usize = 4;

/// Default port of the page: that of HTTPS for processes that may not bind 443.
pub const PAGE_PORT: u16 = 8443;

/// Listening addresses of the gateway.
pub const LISTEN_MAX: usize = 4;

/// Certificate pins of one pool: the one in use and its successors.
pub const PINS_MAX: usize = 4;

/// Longest host name of a pool, in bytes (RFC 1035).
pub const HOST_BYTES_MAX: usize = 253;

/// Longest path of a file named in the settings, in bytes.
pub const PATH_BYTES_MAX: usize = 256;

/// Longest time between two keep-alive jobs, so that no miner declares the pool dead. Miners do so
/// after 90 s without a line (QUIRKS 38).
pub const KEEPALIVE_MAX: Duration = Duration::from_secs(60);

const _: () = assert!(EXTRANONCE2_BYTES_MIN == 1 + ROLL_BYTES_MIN);
const _: () = assert!(EXTRANONCE2_BYTES_MAX >= (MINER_ID_BYTES_MAX + ROLL_BYTES_MAX) as usize);
const _: () = assert!(EXTRANONCE2_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(2 * SMALL_TABLE_MINERS_MAX <= 1 << u8::BITS);
const _: () = assert!(ROLL_BYTES_MIN <= ROLL_BYTES_SHORT);
const _: () = assert!(ROLL_BYTES_SHORT <= ROLL_BYTES_PREFERRED);
const _: () = assert!(ROLL_BYTES_PREFERRED <= ROLL_BYTES_MAX);
// ---- miners --------------------------------------------------------------------------------

/// Most miners that one gateway serves. Two bytes of extranonce2 name 65,536, and each geometry
/// takes a third of them.
pub const MINERS_MAX: usize = 16_384;

/// Default number of miner slots: a large farm's. The slots cost memory from the start.
pub const MINERS_AUTO_MAX: usize = 10_000;

/// Bytes of worker names that one connection may hold: two of the longest, or many short ones.
pub const WORKERS_BYTES_MAX: usize = 2 * (WORKER_NAME_BYTES_MAX + 1);

/// Blocks of 256 two-byte ids that one geometry's miners cycle through, at least and at most. Three
/// geometries of the largest table fit side by side, with one of single-byte ids.
pub const ID_BLOCKS_LEAST: usize = 8;
/// See [`ID_BLOCKS_LEAST`]; every miner of the largest table has an id at the same time.
pub const ID_BLOCKS_MOST: usize = 80;

const _: () = assert!(ID_BLOCKS_MOST << 8 > MINERS_MAX && 3 * ID_BLOCKS_MOST <= 1 << 8);

/// Ids without work that are given out again at once, per lane. A client that connects and closes
/// in a loop therefore uses up no ids. Other ids are reused in turn.
pub const IDS_SPARE_MAX: usize = 8;

/// Time that pools get to tell their extranonce2 length before the first miner is answered (F89).
pub const HEAR_MAX: Duration = Duration::from_secs(5);

/// Time for which the status shows that a newcomer was refused for want of an id.
pub const NO_ID_SAID: Duration = Duration::from_secs(60);

/// Time from the connection to a subscription, in total and not per read (F19).
pub const SUBSCRIBE_DEADLINE: Duration = Duration::from_secs(10);

/// Time from the connection to an authorized worker, in total (F19).
pub const AUTHORIZE_DEADLINE: Duration = Duration::from_secs(15);

/// Unreadable lines before a connection is closed (F06).
pub const INVALID_LINES_MAX: u8 = 3;

/// Wrong or unknown requests before a connection is closed (F09, F11). A miner that restarts its
/// handshake or uses rare extensions stays far below.
pub const ODD_REQUESTS_MAX: u8 = 32;

/// One line, request or oddity of a peer is forgiven per this interval, so that rare ones never add
/// up over months.
pub const FORGIVE_INTERVAL: Duration = Duration::from_secs(60);

/// Rejected submits in excess of accepted ones before a connection is closed (F31). Stale shares do
/// not count, and an accepted share forgives [`REJECTS_FORGIVEN_BY_SHARE`].
pub const EXCESS_REJECTS_MAX: u16 = 512;

/// Rejected submits forgiven by one accepted share; honest miners stay near 2 % (F32).
pub const REJECTS_FORGIVEN_BY_SHARE: u16 = 8;

/// Addresses remembered for their connections' protocol violations (F50). An attacker with more
/// addresses gets the strict default for each.
pub const OFFENDERS_MAX: usize = 128;

/// Offences that equal one connection's budgets. They are booked for another protocol, an endless
/// line, or a used-up budget.
pub const OFFENCES_OF_CONNECTION: u16 = 32;

/// Offences of an address before it is refused: those of eight connections.
pub const OFFENCES_ALLOWED: u16 = 8 * OFFENCES_OF_CONNECTION;

/// One offence is forgiven per this interval: a connection's in about [`FORGIVE_INTERVAL`]. A
/// refused address is accepted again after four minutes.
pub const OFFENCE_FORGIVEN_IN: Duration = Duration::from_secs(2);

/// Offences forgiven by an accepted share from the same address. A hundred miners behind one
/// address, each with a share in ten seconds, outweigh a broken miner with two connections a
/// second.
pub const OFFENCES_FORGIVEN_BY_SHARE: u64 = 8;

/// Divisor of a connection's budgets if there is no room to remember its address.
pub const STRICT_DIVISOR: u8 = 4;

/// Submits that a miner may send in a burst before [`SUBMIT_INTERVAL`] applies.
pub const SUBMITS_BURST_MAX: u32 = 2_000;

/// Seen shares per bucket, which one read loads: a cache line of eight 8-byte entries.
pub const SEEN_BUCKET_PLACES: usize = 8;

/// Seen-share places per miner of the table, 256 bytes. Five eighths of them hold 200 s of light
/// shares at one in ten seconds, far more than any share is late.
pub const SEEN_PLACES_PER_MINER: usize = 32;

/// The fewest seen-share places, 64 KiB: a small farm may have pools with a low initial difficulty.
pub const SEEN_PLACES_LEAST: usize = 8192;

/// Part of the places open to light shares, in eighths. The emptier of two buckets of eight is then
/// practically never full.
pub const SEEN_LIGHT_EIGHTHS: u32 = 5;

/// Part of the places open to all shares, in eighths: two of them only to shares that reach their
/// pool.
pub const SEEN_HEAVY_EIGHTHS: u32 = 7;

/// Spare places for shares that reach their pool and find their buckets full.
pub const SEEN_SPARE: usize = 64;

/// Part of the spare places reserved for block candidates.
pub const SEEN_SPARE_FOR_BLOCKS: usize = 16;

/// Announcements with remembered shares: those of all kept jobs.
pub const SEEN_GENERATIONS: usize = LINKS_MAX * JOBS_PER_LINK;

/// Announcements of the same work that are told apart. With one per link's newest job, some are
/// left over.
pub const SEEN_GENERATIONS_OF_WORK: usize = JOBS_PER_LINK - 1;

/// Light shares that a miner may always send for a job while there is room.
pub const LIGHT_SHARES_LEAST: u32 = 16;

/// A miner may send one in this many of the light shares that still fit, for one job. A flooding
/// miner leaves four fifths of the room to others.
pub const LIGHT_SHARES_PART: u32 = 4;

/// Age at which a job that takes too much room may be announced anew. Its ntime must have moved on,
/// or its shares could be sent again for the new job.
pub const SEEN_RENEWAL_MIN: Duration = Duration::from_secs(1);

/// The same if a single miner sends more than its part.
pub const SEEN_RENEWAL_OF_ONE_MIN: Duration = Duration::from_secs(10);

/// Delay between two attempts to make room.
pub const SEEN_RETRY: Duration = Duration::from_millis(20);

/// Difficulties and masks told to a miner whose jobs may still be alive.
pub const TOLD_DIFFICULTIES_MAX: usize = 8;

/// Accepted shares before vardiff may raise a difficulty: relative error 1/sqrt(8), a third.
pub const VARDIFF_SHARES_MIN: u32 = 8;

/// Largest factor by which silence lowers a proven difficulty: a miner that returns after a pause
/// must not flood.
pub const SILENCE_FALL_PROVEN: f64 = 16.0;

/// Largest factor by which silence lowers a difficulty that no share has proven.
pub const SILENCE_FALL_UNPROVEN: f64 = 1024.0;

/// Accepted shares after which vardiff always evaluates the rate.
pub const VARDIFF_WINDOW_SHARES: u32 = 30;

/// Parts of a sweep over the table for deadlines and slow vardiff, so that each step is short.
pub const SWEEP_PARTS: u32 = 4;

/// Interval between two parts of a sweep: each slot is visited once a second.
pub const SWEEP_STEP: Duration = Duration::from_millis(250);

/// Longest pool text kept for people, in bytes as displayed: a line of a log.
pub const POOL_WORDS_BYTES_MAX: usize = 120;

/// Different refusal texts kept per link for the miners that wait for them; pools have about one
/// per code.
pub const POOL_WORDS_KEPT_MAX: usize = 8;

/// Longest text of an error answer, in bytes.
pub const ERROR_TEXT_BYTES_MAX: usize = 160;

/// Room that `handle_input` needs in its output, in bytes: the longest reply, to a subscribe with
/// the longest id.
pub const REPLY_BYTES_MAX: usize = 512;

// ---- jobs and links ------------------------------------------------------------------------

/// Links that a gateway holds at once, over all pools and lanes.
pub const LINKS_MAX: usize = 16;

/// Lanes: groups of miners whose ids are unique within one link. One serves the whole farm
/// unless a pool's extranonce2 leaves a single byte for the miner id (DESIGN section 2).
pub const LANES_MAX: usize = 8;

/// Jobs that a link keeps for late shares (QUIRKS 36, 39).
pub const JOBS_PER_LINK: usize = 16;

/// Age at which a superseded job dies (QUIRKS 39).
pub const JOB_AGE_MAX: Duration = Duration::from_secs(300);

/// Bytes for the second coinbase halves of a link's jobs; the largest half fits twice.
pub const COINB2_STORE_BYTES: usize = 2 * COINB2_BYTES_MAX;

/// Bytes of an encoded notify line: the pool's line, plus extranonce1 and pad as hex, and our own
/// job id.
pub const NOTIFY_LINE_BYTES_MAX: usize =
    UPSTREAM_LINE_BYTES_MAX + 2 * (EXTRANONCE1_BYTES_MAX + EXTRANONCE2_BYTES_MAX) + 128;

/// Room that `poll_output` needs in its output, in bytes: mask, difficulty, one notify.
pub const OUTPUT_BYTES_MIN: usize = NOTIFY_LINE_BYTES_MAX + REPLY_BYTES_MAX;

/// Shares of a link that wait to be sent or answered (F56, F91). They cover 5,000 a second at 0.8 s
/// of answer time. That is three times the rate of ten thousand miners at a low initial difficulty.
pub const PENDING_SHARES_MAX: usize = 4096;

/// The same for a link of a further lane: two for each of its 256 miners at most.
pub const PENDING_SHARES_NARROW: usize = 512;

/// A miner may take one part in this many of the free room of a link's queue (F91). A flooding
/// miner leaves at least a third of the queue to the others.
pub const PENDING_PER_MINER_PART: usize = 2;

/// One in this many queue entries must come free before held-back miners are asked again; the sweep
/// also asks them.
pub const PENDING_PER_RELIEF: usize = 16;

/// Shortest submit, in bytes with its line end. A read of this many bytes per free place brings no
/// share without room. The shortest valid submit has 76.
pub const SUBMIT_BYTES_MIN: usize = 64;

/// Most shares a second that the gateway aims to send a pool. They prove work to a quarter of a
/// percent a day, and a few lines a second burden no pool.
pub const SUGGESTED_SHARES_PER_SEC: f64 = 4.0;

/// One in this many places of a queue is in use at the suggested difficulty.
pub const SUGGESTED_PER_QUEUE: usize = 64;

/// Factor by which the farm's rate must change before a new suggestion.
pub const SUGGESTED_FACTOR: f64 = 4.0;

/// Interval between two suggestions to a pool while the farm grows, as at its start.
pub const SUGGESTED_INTERVAL: Duration = Duration::from_secs(10);

/// The same while the farm shrinks, which may be temporary.
pub const SUGGESTED_LOWER_INTERVAL: Duration = Duration::from_secs(300);

/// A pool that hangs up within this time after a suggestion may do so because of it.
pub const SUGGESTED_CLOSE_MAX: Duration = Duration::from_secs(5);

/// Window of one rate measurement; older measurements fade by a quarter with each.
pub const RATE_WINDOW: Duration = Duration::from_secs(2);

/// Shares needed for the first measurement of the farm's rate.
pub const RATE_SHARES_MIN: u32 = 16;

/// Time without a lost share until a queue counts as wide enough again.
pub const QUEUE_FULL_LASTS: Duration = Duration::from_secs(60);

/// One place in this many is reserved for block candidates (F39). A block is found in years; the
/// rest are for test networks.
pub const PENDING_PER_BLOCK_RESERVED: usize = 16;

/// Most places reserved for block candidates.
pub const PENDING_BLOCKS_RESERVED: usize = 16;

/// Block candidates kept until their pools answer, over all pools (F39).
pub const BLOCKS_KEPT_MAX: usize = PENDING_BLOCKS_RESERVED;

/// Minimum interval between two jobs sent for a miner's own wishes (F23): a wish has a few bytes, a
/// job some kilobytes. NerdMiner repeats its wish every 30 s.
pub const WISH_INTERVAL: Duration = Duration::from_secs(10);

/// Extra ntime step of a job sent for one miner's wish, in seconds, beyond the time passed. A
/// shared job moves that far only if a pool repeats the same work for half an hour. So the miner
/// never had this work.
pub const WISH_NTIME_SECS: u32 = NTIME_MOVED_SECS_MAX / 2;

/// Factor between a wish and the difficulty in force from which a miner gets a job at once.
pub const WISH_FACTOR: f64 = 2.0;

/// Jobs with a miner's own id kept for late shares: those of the last [`WISH_INTERVAL`], and one
/// before.
pub const OWN_JOBS_MAX: usize = 2;

/// A block candidate without a pool's verdict is dropped at this age: about 144 blocks later, no
/// late block can win.
pub const BLOCK_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Found blocks written in a burst while everything waits for the disk; one more is allowed after
/// each [`BLOCK_WRITE_INTERVAL`]. Further blocks are written a second later.
pub const BLOCK_WRITES_BURST_MAX: u32 = 16;

/// Interval after which one more such write is allowed.
pub const BLOCK_WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// Room for one line to a pool, in bytes: an authorize with the longest name and password, every
/// byte escaped.
pub const LINK_OUTPUT_BYTES_MIN: usize = 2048;

/// Shares are held this long while a link is down (F56, DESIGN section 4).
pub const HOLD_MAX: Duration = Duration::from_secs(30);

/// Time limit for a pool's answer to a share (F41).
pub const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Time limit for each step of the handshake. NiceHash left mining.configure unanswered, so that
/// step is skipped after its limit.
pub const LINK_STEP_MAX: Duration = Duration::from_secs(5);

/// Time limit from a link's connection to its first job; later, the pool counts as dead.
pub const LINK_HANDSHAKE_MAX: Duration = Duration::from_secs(20);

/// An open link without a job for this long is recycled (F59).
pub const JOB_SILENCE_MAX: Duration = Duration::from_secs(120);

/// Oddities of a link (unknown methods, refused values, broken lines) before it is closed (F34).
pub const LINK_ODDITIES_MAX: u16 = 64;

/// Silent closes in a row at mining.configure before the gateway leaves it out (QUIRKS 12): the
/// first may be chance.
pub const CLOSED_AT_CONFIGURE_MAX: u8 = 2;

/// After this time, the next connection to such a pool sends mining.configure again.
pub const CONFIGURE_AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// Longest interval between two dials of a pool while no pool serves its goal (F95). A pool that is
/// reachable again gets the farm within 5 s, handshake included.
pub const RETRY_UNSERVED_MAX: Duration = Duration::from_secs(4);

/// Minimum interval between two redirections by a pool (F82).
pub const RECONNECT_INTERVAL_MIN: Duration = Duration::from_secs(60);

/// Goals that share the farm's work; each has at least one pool.
pub const GOALS_MAX: usize = POOLS_MAX;

/// Bytes of a goal's name in the settings.
pub const GOAL_NAME_BYTES_MAX: usize = 32;

/// Score below which a link's circuit opens (`crate::health`).
pub const HEALTH_FAULT: u8 = 40;

/// Score that a link needs throughout before its circuit closes again.
pub const HEALTH_GOOD: u8 = 70;

/// Answers after which a silent miner's record no longer counts for its pool, once
/// [`HEALTH_HEARD_MAX`] has passed as well.
pub const HEALTH_ANSWERS: u8 = 32;

/// Time for which one miner's answers count, however many answers others get.
pub const HEALTH_HEARD_MAX: Duration = Duration::from_secs(120);

/// Miners whose answers enter a link's score, over all addresses.
pub const HEALTH_VOICES: usize = 16;

/// Answers per miner that enter the score, two bits each in a u16.
pub const HEALTH_VOICE_ANSWERS: u8 = 8;

/// Answers in total before refusals count.
pub const HEALTH_ANSWERS_LEAST: u32 = 8;

/// Window in which a miner's repeated shares are counted.
pub const REPEATS_WINDOW: Duration = Duration::from_secs(60);

/// Repeats in the window that are no accident, if they are also a large part of all submits
/// ([`REPEATS_PART`]). Firmware that restarts its extranonce2 at each job repeats 2 % (QUIRKS 24).
/// If the pool sends identical work again, it repeats up to 13 % (QUIRKS 53).
pub const REPEATS_LEAST: u32 = 32;

/// One in this many submits must be a repeat.
pub const REPEATS_PART: u32 = 4;

/// Time for which a miner counts as repeating its shares; it is reported once in that time.
pub const REPEATS_SAID: Duration = Duration::from_secs(300);

/// Time after which a pool that refused shares, or left them unanswered, may show that it takes
/// them again; it doubles with each failed trial.
pub const TRIAL_INTERVAL_MIN: Duration = Duration::from_secs(300);

/// The most that it doubles to: a trial costs about [`HEALTH_ANSWERS_LEAST`] shares.
pub const TRIAL_INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// How often it doubles at most on the way there.
pub const TRIAL_DOUBLINGS_MAX: u8 = 4;

/// Points that the loss of a live connection takes from the score.
pub const HEALTH_LOSS: u8 = 15;

/// Most points that lost connections take from the score: too few to open a circuit for good.
pub const HEALTH_LOSSES_MAX: u8 = 30;

/// Interval after which one of these points is given back.
pub const HEALTH_FORGIVE_INTERVAL: Duration = Duration::from_secs(10);

/// A connection counts as dead after this time without a line while a share waits for its answer.
/// It is then reconnected (F63): a NAT may have forgotten it.
pub const UNRESPONSIVE_MAX: Duration = Duration::from_secs(45);

/// Time over which a pool's answers are judged. An operator should hear within a minute that
/// nothing is earned (F93).
pub const UNPAID_AFTER: Duration = Duration::from_secs(60);

/// Answers needed in that time before their proportions count.
pub const UNPAID_ANSWERS_MIN: u32 = 8;

/// Shares unanswered, or refused in a row, that count after [`UNPAID_AFTER`]; a single one may be
/// an accident.
pub const UNPAID_SHARES_MIN: u32 = 3;

/// Refusals in a row that count however long they took.
pub const REFUSALS_IN_A_ROW: u32 = 20;

/// Accepted shares in a row that end the trouble; a pool that refuses every second share rarely
/// gets there.
pub const PAID_SHARES_MIN: u32 = 8;

/// Minimum interval between two new sessions requested because the last one earns nothing.
pub const RENEWAL_INTERVAL_MIN: Duration = Duration::from_secs(60);

/// Doublings of that interval while sessions stay unpaid: to 8 minutes, as no other pool pays
/// meanwhile.
pub const RENEWAL_DOUBLINGS_MAX: u8 = 3;

/// The same while another pool pays, and every trial costs a few shares: to about an hour.
pub const RENEWAL_DOUBLINGS_SPARE_MAX: u8 = 6;

const _: () = assert!(UNPAID_AFTER.as_micros() > ANSWER_MAX.as_micros());

/// Number of shares over which the split makes up a goal's deficit.
pub const SPLIT_HORIZON_SHARES: f64 = 64.0;

/// Shortest time in which the split makes up a goal's deficit.
pub const SPLIT_HORIZON_MIN: Duration = Duration::from_secs(2);

/// Longest time in which the split makes up a goal's deficit.
pub const SPLIT_HORIZON_MAX: Duration = Duration::from_secs(30);

/// Minimum time that a miner works for a goal before it moves again.
pub const SPLIT_DWELL: Duration = Duration::from_secs(2);

const _: () = assert!(
    UNRESPONSIVE_MAX.as_micros() > ANSWER_MAX.as_micros()
        && UNRESPONSIVE_MAX.as_micros() < JOB_SILENCE_MAX.as_micros()
);
const _: () = assert!(HEALTH_FAULT < HEALTH_GOOD, "hysteresis needs two thresholds");
const _: () = assert!(2 * HEALTH_VOICE_ANSWERS as u32 <= u16::BITS);
const _: () = assert!(100 - HEALTH_LOSSES_MAX >= HEALTH_GOOD, "losses alone keep no circuit open");

/// A link without miners stays open for late shares this long.
pub const LINGER: Duration = Duration::from_secs(30);

/// Events kept for the log until the owner takes them; the oldest is dropped when full.
pub const EVENTS_MAX: usize = 64;

/// Longest notify kept if it comes before the answer to mining.subscribe (QUIRKS 10), in bytes.
/// Recorded ones have at most 2.5 KB, and it is copied to the stack. A longer one is skipped; the
/// next notify is used.
pub const EARLY_LINE_BYTES_MAX: usize = 4096;

// ---- updates -------------------------------------------------------------------------------

/// Longest signature and manifest before an update's image, in bytes: they have about 600.
pub const UPDATE_HEADER_BYTES_MAX: usize = 2048;

/// Longest value in a manifest, in bytes: a complete semver version.
pub const UPDATE_TEXT_BYTES_MAX: usize = 64;

/// Largest image of a slot, in bytes; on a board the slot's own size counts.
pub const UPDATE_IMAGE_BYTES_MAX: u64 = 64 << 20;

/// Trusted update keys: a few of the maker's and of the operator's.
pub const UPDATE_KEYS_MAX: usize = 16;

/// Longest key file, in bytes: minisign's have 113.
pub const UPDATE_KEY_BYTES_MAX: usize = 1024;

/// Bytes written to a slot, or read back, at once.
pub const UPDATE_CHUNK_BYTES: usize = 16_384;

/// Boot attempts of a new system before the old one is started again.
pub const UPDATE_TRIES: u8 = 2;

/// An update is aborted if neither upload nor slot writer makes progress for this long. A slow
/// flash takes some seconds to be flushed and read back.
pub const UPDATE_SILENCE_MAX: Duration = Duration::from_secs(60);

/// Time limit for the upload of an update.
pub const UPDATE_TIME_MAX: Duration = Duration::from_secs(30 * 60);

/// Time limit for a new system to be healthy, unless its board sets another. Disconnected miners
/// retry within a minute or two.
pub const UPDATE_HEALTH_DEFAULT: Duration = Duration::from_secs(300);

/// Longest limit that a board may set. The image's init restarts the machine after 900 s
/// (`xtask/image/initramfs-init`), whatever the new system does.
pub const UPDATE_HEALTH_MAX: Duration = Duration::from_secs(600);

/// Percentage of the earlier miners that must be back.
pub const UPDATE_MINERS_BACK_PERCENT: u64 = 50;

/// Longest line between the gateway and the slot writer, in bytes.
pub const UPDATE_LINE_BYTES_MAX: usize = 1024;

/// Links of every gateway, whatever its board: two per pool, the active one and its successor.
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
