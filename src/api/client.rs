//! The other end of the socket, for the commands: asks, and reads the answers in order.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::protocol::{Request, Response};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to a running orchestrator.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// The orchestrator cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens.
    #[error("no orchestrator is running for this tmux server")]
    NotRunning,
    /// The connection failed.
    #[error("the orchestrator's socket failed: {0}")]
    Io(#[from] std::io::Error),
    /// It ended before it answered.
    #[error("the orchestrator ended before it answered")]
    Ended,
    /// It did not answer in time.
    #[error("the orchestrator has not answered for {} s: it is stopped or hangs; `orch logs` says what it did last", PATIENCE.as_secs())]
    Silent,
    /// An answer that this version does not understand.
    #[error("the orchestrator answered what this version does not understand: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It said no.
    #[error("{0}")]
    Refused(String),
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] when nothing listens there.
    pub async fn connect(socket: &Path) -> Result<Self, ClientError> {
        use std::io::ErrorKind::{ConnectionRefused, NotFound};
        let stream = UnixStream::connect(socket)
            .await
            .map_err(|error| match error.kind() {
                NotFound | ConnectionRefused => ClientError::NotRunning,
                _ => ClientError::Io(error),
            })?;
        let (reader, writer) = stream.into_split();
        Ok(Self {
            reader: BufReader::new(reader),
            writer,
        })
    }

    /// Sends a request without waiting for its answer.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        Ok(self.writer.write_all(&line).await?)
    }

    /// The next answer, or the next line of a watch.
    ///
    /// # Errors
    /// The connection ended or failed, or the answer cannot be read.
    pub async fn receive(&mut self) -> Result<Response, ClientError> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).await? == 0 {
            return Err(ClientError::Ended);
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// As [`Client::receive`], and [`ClientError::Refused`] with what the orchestrator says.
    pub async fn ask(&mut self, request: &Request) -> Result<Response, ClientError> {
        let asking = async {
            self.send(request).await?;
            self.receive().await
        };
        let answer = tokio::time::timeout(PATIENCE, asking).await;
        match answer.map_err(|_| ClientError::Silent)?? {
            Response::Error(error) => Err(ClientError::Refused(error)),
            answer => Ok(answer),
        }
    }

    /// Both halves, for a caller that writes and reads at once.
    pub fn split(self) -> (BufReader<OwnedReadHalf>, OwnedWriteHalf) {
        (self.reader, self.writer)
    }
}
