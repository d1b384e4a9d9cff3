//! Encryption, as the URL's `sslmode` asks for it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use dbopt_core::backend::ConnectError;
use dbopt_core::error::Reason;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::config::Host;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::socket::Socket;
use super::url::{Address, Encryption};
use crate::conn::{Tap, Wire};

/// `SSLRequest`: its length and its code (PostgreSQL manual, "Message Formats").
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// What server and client have agreed on.
pub(super) enum Negotiated {
    Plain(Socket),
    /// The server waits for the TLS handshake.
    Tls(Socket, Connector),
}

pub(super) type Connector = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;

/// Asks the server for TLS if the URL wants it.
pub(super) async fn negotiate(mut socket: Socket, address: &Address) -> Result<Negotiated, ConnectError> {
    let wanted = address.encryption;
    if wanted == Encryption::Disable || matches!(address.host, Host::Unix(_)) {
        return Ok(Negotiated::Plain(socket));
    }
    let place = address.name();
    let lost = |e: io::Error| {
        ConnectError::new(Reason::Refused, format!("{place}: the connection ended before TLS was agreed on: {e}"))
    };
    socket.write_all(&SSL_REQUEST).await.map_err(lost)?;
    match (socket.read_u8().await.map_err(lost)?, wanted) {
        (b'S', _) => {
            let config = client_config(address)?;
            let connector =
                MakeTlsConnect::<Socket>::make_tls_connect(&mut MakeRustlsConnect::new(config), &host_name(address));
            Ok(Negotiated::Tls(socket, connector.map_err(|e| failed(address, &e))?))
        }
        (b'N', Encryption::Prefer) => Ok(Negotiated::Plain(socket)),
        (b'N', _) => Err(ConnectError::new(
            Reason::Tls,
            format!(
                "{place}: the server does not offer TLS, but the URL demands it; turn `ssl` on there, or write sslmode=prefer"
            ),
        )),
        // A server that cannot start a process for the session says so at once, in words.
        (b'E', _) => Err(ConnectError::new(
            Reason::ServerFull,
            format!("{place}: the server could not start a session; it lacks memory or processes"),
        )),
        _ => Err(ConnectError::new(Reason::Other, super::open::no_postgres(&place))),
    }
}

fn host_name(address: &Address) -> String {
    match &address.host {
        Host::Tcp(host) => host.clone(),
        Host::Unix(_) => "localhost".into(),
    }
}

pub(super) fn failed(address: &Address, why: &dyn std::fmt::Display) -> ConnectError {
    ConnectError::new(Reason::Tls, format!("{}: TLS cannot be set up: {why}", address.name()))
}

fn client_config(address: &Address) -> Result<ClientConfig, ConnectError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| failed(address, &e))?;
    let check = match address.encryption {
        Encryption::Disable | Encryption::Prefer | Encryption::Require => Check::Nothing,
        Encryption::VerifyFull => {
            return Ok(builder.with_root_certificates(roots(address)?).with_no_client_auth());
        }
        Encryption::VerifyCa => {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(address)?), provider.clone())
                .build()
                .map_err(|e| failed(address, &e))?;
            Check::Authority(verifier)
        }
    };
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { provider, check }))
        .with_no_client_auth())
}

fn roots(address: &Address) -> Result<RootCertStore, ConnectError> {
    let mut roots = RootCertStore::empty();
    match &address.root_certificate {
        Some(path) => {
            let unreadable =
                |why: &dyn std::fmt::Display| failed(address, &format!("sslrootcert {}: {why}", path.display()));
            for certificate in CertificateDer::pem_file_iter(path).map_err(|e| unreadable(&e))? {
                let certificate = certificate.map_err(|e| unreadable(&e))?;
                roots.add(certificate).map_err(|e| unreadable(&e))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(failed(address, &"no certificate authority is known; name one with sslrootcert=/path/ca.pem"));
    }
    Ok(roots)
}

/// What `require` and `verify-ca` check less than a browser would: libpq's meaning of these words.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    check: Check,
}

#[derive(Debug)]
enum Check {
    Nothing,
    Authority(Arc<WebPkiServerVerifier>),
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Check::Authority(authority) = &self.check else {
            return Ok(ServerCertVerified::assertion());
        };
        match authority.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            checked => checked,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A connector whose stream is watched from above the encryption.
pub(super) struct Tapped {
    pub(super) connector: Connector,
    pub(super) wire: Arc<Wire>,
}

impl TlsConnect<Socket> for Tapped {
    type Stream = Tap<<Connector as TlsConnect<Socket>>::Stream>;
    type Error = <Connector as TlsConnect<Socket>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        let handshake = self.connector.connect(socket);
        Box::pin(async move { Ok(Tap::new(handshake.await?, self.wire)) })
    }
}
