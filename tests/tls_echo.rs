//! The example `tls_echo`: the real rustls at both ends, over egret's sockets.

#[allow(dead_code)] // `main` is called by nobody here
#[path = "../examples/tls_echo/main.rs"]
mod example;
#[path = "support/program.rs"]
mod program;
#[path = "support/watchdog.rs"]
mod watchdog;

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use egret::net::{TcpListener, TcpStream};
use egret::time::timeout;
use futures_lite::{AsyncReadExt, AsyncWriteExt, io::split};
use futures_rustls::client::TlsStream;
use futures_rustls::pki_types::{CertificateDer, ServerName};
use futures_rustls::rustls::{self, ClientConfig, RootCertStore};
use futures_rustls::{TlsConnector, pki_types};
use program::Program;
use watchdog::Watchdog;

/// Within this everything on loopback has happened, on a loaded machine, too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a body against a server of its own, whose certificate it gets.
fn run<F: Future<Output = ()>>(body: impl FnOnce(SocketAddr, CertificateDer<'static>) -> F) {
    let _watchdog = Watchdog::start();
    let runtime = egret::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (certificate, key) = example::certificate().unwrap();
        let known = certificate.clone();
        egret::spawn(async move { example::serve(listener, certificate, key).await.unwrap() });
        timeout(PATIENCE, body(address, known)).await.expect("it ends");
    });
}

/// A client that trusts `known`, and nobody else.
fn config(known: CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(known).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

async fn connect(
    address: SocketAddr,
    known: CertificateDer<'static>,
    name: &'static str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(config(known)).connect(ServerName::try_from(name).unwrap(), stream).await
}

#[test]
fn what_is_said_comes_back_and_the_end_is_orderly() {
    run(async |address, known| {
        let mut stream = connect(address, known, "localhost").await.unwrap();
        for n in 0..100 {
            let line = format!("line {n}");
            stream.write_all(line.as_bytes()).await.unwrap();
            let mut found = vec![0; line.len()];
            stream.read_exact(&mut found).await.unwrap();
            assert_eq!(found, line.as_bytes());
        }
        stream.close().await.unwrap();
        // Without the server's own goodbye this would be an error.
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
    });
}

#[test]
fn megabytes_of_several_clients_come_back_whole() {
    run(async |address, known| {
        let clients: Vec<_> = (0..8u32)
            .map(|client| {
                let known = known.clone();
                egret::spawn(async move {
                    // Each half in a task of its own: more is under way than the sockets hold.
                    let (mut reader, mut writer) = split(connect(address, known, "localhost").await.unwrap());
                    let sent: Vec<u8> =
                        (0..1_000_000).map(|i: u32| ((i * (client + 1)) >> 7) as u8).collect();
                    let expected = sent.clone();
                    let writing = egret::spawn(async move {
                        writer.write_all(&sent).await.unwrap();
                        writer.flush().await.unwrap();
                        writer
                    });
                    let mut found = vec![0; expected.len()];
                    reader.read_exact(&mut found).await.unwrap();
                    assert!(found == expected);
                    writing.await.unwrap().close().await.unwrap();
                    assert_eq!(reader.read(&mut [0; 16]).await.unwrap(), 0);
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
    });
}

#[test]
fn a_certificate_of_somebody_else_or_for_another_name_is_refused() {
    run(async |address, known| {
        let (strange, _) = example::certificate().unwrap();
        for (certificate, name) in [(strange, "localhost"), (known.clone(), "example.org")] {
            let error = connect(address, certificate, name).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
        }
        connect(address, known, "localhost").await.unwrap();
    });
}

#[test]
fn who_speaks_no_tls_is_turned_away_and_nobody_else_notices() {
    run(async |address, known| {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut buffer = [0; 64];
        // An alert, then the end, in whatever way.
        while let Ok(1..) = stream.read(&mut buffer).await {}
        drop(TcpStream::connect(address).await.unwrap());
        connect(address, known, "localhost").await.unwrap().write_all(b"hello").await.unwrap();
    });
}

/// Takes any certificate: what the program made is not known to those outside.
#[derive(Debug)]
struct Anybody(rustls::crypto::CryptoProvider);

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[test]
fn the_program_says_where_it_is_and_echoes_to_a_blocking_client() {
    let _watchdog = Watchdog::start();
    let program = Program::start("tls_echo", &["127.0.0.1:0"]);
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    // Nothing of egret at this end, and the older protocol.
    let name = ServerName::try_from("localhost").unwrap();
    let session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = std::net::TcpStream::connect(&program.greeting).unwrap();
    let mut stream = rustls::StreamOwned::new(session, socket);
    stream.write_all(b"from outside").unwrap();
    let mut found = [0; 12];
    stream.read_exact(&mut found).unwrap();
    assert_eq!(&found, b"from outside");

    let said = Program::fail(&[&program.greeting]);
    assert!(said.contains(&format!("tls_echo: {}: ", program.greeting)), "{said}");
}

#[egret::test]
#[ignore = "the program itself, for the test that starts it"]
async fn program() {
    let Some(arguments) = program::arguments() else { return };
    let _watchdog = Watchdog::start();
    let code = example::run(arguments.into_iter().next()).await;
    assert_eq!(code, std::process::ExitCode::SUCCESS);
}
