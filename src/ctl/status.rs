//! `status`: asks a running gateway for its status and prints the answer.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use loka_stratum::limits::{HTTP_ANSWER_BYTES_MAX, HTTP_TIMEOUT};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::gateway::base::say::{say, say_error};
use crate::gateway::observe::summary::table;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Flags of `status`.
#[derive(clap::Args)]
pub struct StatusArgs {
    /// Address of the gateway's status port.
    #[arg(value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub address: SocketAddr,
    /// Print the JSON as it comes.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command: 0 if the gateway is ready, 1 if it is not or cannot be asked.
pub fn run(args: &StatusArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let limit = Duration::from_micros(HTTP_TIMEOUT.as_micros());
    let answer = runtime.map_err(Failure::from).and_then(|runtime| {
        runtime.block_on(async {
            timeout(limit, fetch(args.address)).await.unwrap_or_else(|late| Err(late.into()))
        })
    });
    let text = match answer {
        Ok(text) => text,
        Err(error) => {
            let address = args.address;
            say_error(format_args!("no answer from the status port at {address}: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match serde_json::from_str::<Value>(&text) {
        Ok(_) if args.json => say(format_args!("{}", text.trim_end())),
        Ok(status) => say(format_args!("{}", table(&status).trim_end())),
        Err(error) => {
            say_error(format_args!("the answer is not a gateway's: {error}"));
            return ExitCode::FAILURE;
        }
    }
    let is_ready = text.contains("\"ready\":true");
    if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn fetch(address: SocketAddr) -> Result<String, Failure> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/api/v1/status")
        .header("host", address.to_string())
        .body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let body = Limited::new(response.into_body(), HTTP_ANSWER_BYTES_MAX).collect().await?;
        Ok::<_, Failure>(String::from_utf8(body.to_bytes().into())?)
    };
    // The connection drives the exchange and ends after it.
    let (answer, _) = tokio::join!(exchange, connection);
    answer
}
