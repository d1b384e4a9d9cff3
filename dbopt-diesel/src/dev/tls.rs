//! A certificate authority of the cluster's own and one server certificate from it, for 127.0.0.1 and localhost.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::account::Account;
use super::error::DevError;

/// Writes `tls/{ca.crt,server.crt,server.key}` into the cluster's folder and returns the authority's path.
pub(super) fn write(dir: &Path, account: &Account) -> Result<PathBuf, DevError> {
    let dir = dir.join("tls");
    account.create_dir(&dir)?;
    let (authority, certificate, key) = make().map_err(|error| DevError::Certificate(Box::new(error)))?;
    let path = dir.join("ca.crt");
    account.write(&path, &authority)?;
    account.write(&dir.join("server.crt"), &certificate)?;
    account.write(&dir.join("server.key"), &key)?;
    Ok(path)
}

/// Authority, certificate and key as PEM. Two certificates rather than one that signs itself: rustls refuses an
/// authority that serves.
fn make() -> Result<(String, String, String), rcgen::Error> {
    let mut authority = CertificateParams::new([])?;
    authority.distinguished_name.push(DnType::CommonName, "dbopt development cluster");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;

    let mut server = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    server.distinguished_name.push(DnType::CommonName, "localhost");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let server_key = KeyPair::generate()?;
    let certificate = server.signed_by(&server_key, &Issuer::new(authority, authority_key))?;
    Ok((authority_certificate.pem(), certificate.pem(), server_key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn authority_and_server_are_two_certificates() {
        let (authority, certificate, key) = super::make().unwrap();
        assert!(authority.contains("BEGIN CERTIFICATE") && certificate.contains("BEGIN CERTIFICATE"));
        assert!(authority != certificate && key.contains("PRIVATE KEY"));
    }
}
