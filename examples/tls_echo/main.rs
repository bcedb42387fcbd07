//! An echo over TLS, by rustls: what its `futures-rustls` wants of a socket are the traits of `futures-io`, which egret's have.
//!
//! ```text
//! cargo run --release --example tls_echo -- 127.0.0.1:7443
//! openssl s_client -connect 127.0.0.1:7443 -quiet
//! ```
//!
//! The certificate is made at the start, for `localhost`, and signed by nobody else: a real server reads its own from files, and only
//! [`certificate`] changes.

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use egret::net::{TcpListener, TcpStream};
use egret::time::timeout;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use futures_rustls::TlsAcceptor;
use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use futures_rustls::rustls::{self, ServerConfig};

/// How long a client may take over the handshake. A guess: it is several round trips, and nobody types it.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// As much as a record of TLS holds.
const RECORD: usize = 16 * 1024;

#[egret::main]
async fn main() -> ExitCode {
    run(std::env::args().nth(1)).await
}

/// The program, with the address that it was given.
pub async fn run(address: Option<String>) -> ExitCode {
    let address = address.unwrap_or_else(|| "127.0.0.1:7443".to_owned());
    let outcome = async {
        let (certificate, key) = certificate()?;
        let listener = TcpListener::bind(address.as_str()).await?;
        println!("tls_echo: {}", listener.local_addr()?);
        serve(listener, certificate, key).await
    };
    match outcome.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tls_echo: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A certificate for `localhost`, and its key.
pub fn certificate() -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Ok((made.cert.into(), key.into()))
}

/// Takes clients until that is no longer possible.
pub async fn serve(
    listener: TcpListener,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<(), Box<dyn Error>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let (stream, peer) = listener.accept().await?;
        let acceptor = acceptor.clone();
        egret::spawn(async move {
            // One client's trouble, told and over.
            if let Err(error) = echo(acceptor, stream).await {
                eprintln!("tls_echo: {peer}: {error}");
            }
        });
    }
}

async fn echo(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
    let mut buffer = vec![0; RECORD];
    loop {
        match stream.read(&mut buffer).await? {
            // The client has said its goodbye; ours goes back, then the end of the connection.
            0 => return stream.close().await,
            n => stream.write_all(&buffer[..n]).await?,
        }
        // rustls may have kept records that the socket did not take.
        stream.flush().await?;
    }
}
