//! The machine's own limits: an echo of messages with the sizes of submit and answer, and the bare
//! check of a share.

use std::cell::RefCell;
use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use loka_stratum::work::coinbase::CoinbasePrefix;
use loka_stratum::work::header::{Header, NTime, Nonce, PrevHash};
use loka_stratum::work::merkle;
use loka_stratum::work::target::{NBits, Target};
use loka_stratum::work::version::Version;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::spawn_local;

use super::scenes::{LOADS, Load, Plan};
use super::table::{Better, Figure};
use crate::lab::net::{Key, Port, Quit, Scratch, Stream, Table, Traffic, carry};
use crate::lab::pool::jobs::{Branches, JobBook, Plan as JobPlan};
use crate::lab::rig::{Part, cpu_time, own_cpu_time};
use crate::lab::{self, say};

/// A submit of the load, and its answer.
const SUBMIT: &[u8] = b"{\"params\": [\"farm.1234\", \"0000002a\", \"0a0b0000\", \"6720f0a0\", \
    \"1234abcd\", \"00c00000\"], \"id\": 29551, \"method\": \"mining.submit\"}\n";
const ANSWER: &[u8] = b"{\"id\":29551,\"result\":true,\"error\":null}\n";

/// Share checks of a round.
const CHECKS: u32 = 20_000;

/// Measures the echo under every load, and the check of a share.
///
/// # Errors
///
/// The echo's process cannot be started.
pub fn measure(plan: &Plan) -> io::Result<Vec<Figure>> {
    let mut figures = vec![check(plan)?];
    let (echo, address) = Part::listening("bench", &["--echo".to_owned()])?;
    for load in LOADS {
        let name = format!("limit: echo, {load}");
        let mut figure = Figure::new(name, "µs CPU per message", Better::Lower);
        for _ in 0..plan.rounds {
            let (count, used) = drive(address, echo.pid(), load, load.run_for(plan))?;
            figure.add(used.as_secs_f64() * 1e6 / count as f64, count);
        }
        figures.push(figure);
    }
    echo.stop();
    Ok(figures)
}

/// Measures the check of shares for one job: 250-byte coinbase, 12 branches.
fn check(plan: &Plan) -> io::Result<Figure> {
    let mut book = JobBook::new(
        JobPlan {
            branches: Branches::Exactly(12),
            coinbase_bytes: 250,
            extranonce_bytes: 12,
            nbits: 0x1d00_ffff,
        },
        1,
    );
    let job = book.make(1_700_000_000);
    let prefix = CoinbasePrefix::new(&[&job.coinb1, &[1, 2, 3, 4], &[0, 0]]);
    let mut figure = Figure::new("limit: one share check", "µs CPU", Better::Lower);
    for _ in 0..plan.rounds {
        let before = own_cpu_time()?;
        for count in 0..CHECKS {
            let roll = count.to_le_bytes();
            let middle = [0, 7, roll[0], roll[1], roll[2], roll[3]];
            let coinbase_hash = prefix.hash_with(&middle, &job.coinb2);
            let header = Header {
                version: Version(job.version),
                prev_hash: PrevHash(job.prev_hash),
                merkle_root: merkle::root(coinbase_hash, &job.branches),
                ntime: NTime(job.ntime),
                nbits: NBits(job.nbits),
                nonce: Nonce(count),
            };
            black_box(Target::MAX.is_met_by(header.hash()));
        }
        let used = own_cpu_time()?.saturating_sub(before);
        figure.add(used.as_secs_f64() * 1e6 / f64::from(CHECKS), u64::from(CHECKS));
    }
    Ok(figure)
}

/// One end of the echo: its text for every line, or for every batch of lines.
struct Echo {
    ports: Vec<Option<Port>>,
    traffic: Traffic,
    says: Vec<u8>,
    /// Lines from each peer before the next text.
    batch: u32,
    heard: Vec<u32>,
}

impl Echo {
    fn new(says: Vec<u8>, batch: u32) -> Self {
        Self { ports: Vec::new(), traffic: Traffic::default(), says, batch, heard: Vec::new() }
    }

    fn add(&mut self, port: Port) -> Key {
        self.ports.push(Some(port));
        self.heard.push(0);
        Key { index: self.ports.len() - 1, generation: 0 }
    }
}

impl Table for Echo {
    fn port(&mut self, key: Key) -> Option<&mut Port> {
        self.ports.get_mut(key.index)?.as_mut()
    }

    fn traffic(&mut self) -> &mut Traffic {
        &mut self.traffic
    }

    fn handle_line(&mut self, key: Key, _line: &[u8], out: &mut Vec<u8>) -> Result<(), Quit> {
        let heard = &mut self.heard[key.index];
        *heard += 1;
        if *heard == self.batch {
            *heard = 0;
            out.extend_from_slice(&self.says);
        }
        Ok(())
    }
}

/// Answers every line until standard input ends.
///
/// # Errors
///
/// No socket can be opened.
pub fn serve_echo() -> io::Result<()> {
    lab::local_runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        say(&format!("listening {}", listener.local_addr()?));
        let (ended, end) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let _ = io::stdin().read_line(&mut String::new());
            let _ = ended.send(());
        });
        let echo = Rc::new(RefCell::new(Echo::new(ANSWER.to_vec(), 1)));
        let scratch = Rc::new(RefCell::new(Scratch::default()));
        spawn_local(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                let (echo, scratch) = (echo.clone(), scratch.clone());
                let (stream, port) = Stream::tcp(socket);
                let key = echo.borrow_mut().add(port);
                spawn_local(async move {
                    carry(&echo, &scratch, key, stream).await;
                    echo.borrow_mut().ports[key.index] = None;
                });
            }
        });
        let _ = end.await;
        Ok(())
    })
}

/// Sends lines and waits for their answers on many connections; returns the number of answers and
/// the server's CPU time.
fn drive(
    server: SocketAddr,
    pid: u32,
    load: Load,
    run_for: Duration,
) -> io::Result<(u64, Duration)> {
    lab::local_runtime()?.block_on(async {
        let batch = SUBMIT.repeat(load.at_a_time as usize);
        let echo = Rc::new(RefCell::new(Echo::new(batch.clone(), load.at_a_time)));
        let scratch = Rc::new(RefCell::new(Scratch::default()));
        for _ in 0..load.miners {
            let socket: TcpStream = TcpSocket::new_v4()?.connect(server).await?;
            socket.set_nodelay(true)?;
            let (stream, port) = Stream::tcp(socket);
            let key = echo.borrow_mut().add(port);
            let (echo, scratch) = (echo.clone(), scratch.clone());
            spawn_local(async move {
                carry(&echo, &scratch, key, stream).await;
            });
        }
        // Connecting ends when every connection can have its first answer.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = cpu_time(pid)?;
        for port in echo.borrow_mut().ports.iter_mut().flatten() {
            port.send(&batch);
        }
        tokio::time::sleep(run_for).await;
        let answers = echo.borrow().traffic.lines_in;
        Ok((answers, cpu_time(pid)?.saturating_sub(before)))
    })
}
