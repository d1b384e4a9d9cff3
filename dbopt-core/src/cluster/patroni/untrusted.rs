//! What a failed request means, and what is to be written so that it does not fail again. Pure.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError, Error as TlsError};

use super::ask::{Address, Blame, Unheard};

/// What this error of a request to `address` means; `authority`: the file, or `system`.
pub(super) fn unheard(error: &(dyn Error + 'static), address: &Address, authority: &str) -> Unheard {
    let (mut at, mut last) = (Some(error), error);
    while let Some(error) = at {
        if let Some((blame, why)) = tls_of(error).and_then(|tls| judged(tls, authority)) {
            return Unheard { why, blame };
        }
        (at, last) = (error.source(), error);
    }
    // The cause at the bottom is what a person can do something about.
    let hint =
        if ended(last) && address.base.starts_with("http://") { "; if it speaks TLS, write https://" } else { "" };
    Unheard::silent(format!("{last}{hint}"))
}

/// Whether whoever answers there ended the connection without a word of HTTP, or with an alert of TLS.
fn ended(error: &(dyn Error + 'static)) -> bool {
    let reset = error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionReset);
    let text = error.to_string();
    reset
        || ["connection closed before message completed", "invalid HTTP version"]
            .iter()
            .any(|words| text.contains(words))
}

/// An error of TLS is wrapped in errors of the socket, which do not show it as their source.
fn tls_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a TlsError> {
    let mut error = error;
    while let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        error = inner;
    }
    error.downcast_ref()
}

fn judged(error: &TlsError, authority: &str) -> Option<(Blame, String)> {
    let settings = |why: String| Some((Blame::Settings, why));
    match error {
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer) if authority == "system" => settings(
            "its certificate is signed by no authority that this system knows: write cluster.patroni.sslrootcert = \"/path/to/ca.pem\", the \
             authority that signed its restapi.certfile"
                .into(),
        ),
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => settings(format!(
            "its certificate is not signed by the authority in {authority} (cluster.patroni.sslrootcert): write the one that signed its \
             restapi.certfile"
        )),
        TlsError::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) if !presented.is_empty() => {
            settings(format!(
                "its certificate is that of another host ({}): write that name into cluster.patroni.urls, or have a certificate made with this one",
                presented.join(", ")
            ))
        }
        TlsError::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            settings(
                "its certificate is that of another host: write the name that is in it into cluster.patroni.urls, or have one made with this name"
                    .into(),
            )
        }
        TlsError::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            Some((Blame::Member, "its certificate has expired: renew its restapi.certfile".into()))
        }
        TlsError::InvalidCertificate(why) => Some((Blame::Member, format!("its certificate (restapi.certfile) cannot be used: {why}"))),
        TlsError::AlertReceived(AlertDescription::CertificateRequired) => Some((
            Blame::Member,
            "it wants a certificate of whoever asks, and dbopt has none: write restapi.verify_client: none there, and restapi.authentication \
             for orders"
                .into(),
        )),
        TlsError::InvalidMessage(_) => settings("no TLS is spoken there: write http://".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn of(error: TlsError, authority: &str) -> Unheard {
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
        unheard(&wrapped, &Address::new(&Secret::new("https://h:1")).unwrap(), authority)
    }

    #[test]
    fn what_to_write_is_said_and_who_is_to_blame() {
        let certificate = |error| of(TlsError::InvalidCertificate(error), "/ca.pem");
        let stranger = certificate(CertificateError::UnknownIssuer);
        assert!(
            stranger.blame == Blame::Settings && stranger.why.contains("/ca.pem (cluster.patroni.sslrootcert)"),
            "{stranger}"
        );
        let unknown = of(TlsError::InvalidCertificate(CertificateError::UnknownIssuer), "system");
        assert!(
            unknown.blame == Blame::Settings && unknown.why.contains("write cluster.patroni.sslrootcert = "),
            "{unknown}"
        );
        let name = certificate(CertificateError::NotValidForName);
        assert!(name.blame == Blame::Settings && name.why.contains("another host"), "{name}");
        let old = certificate(CertificateError::Expired);
        assert!(old.blame == Blame::Member && old.why.contains("renew"), "{old}");
        let wanted = of(TlsError::AlertReceived(AlertDescription::CertificateRequired), "system");
        assert!(wanted.blame == Blame::Member && wanted.why.contains("verify_client"), "{wanted}");
    }

    #[test]
    fn what_has_nothing_to_do_with_trust_is_passed_on() {
        let other = of(TlsError::HandshakeNotComplete, "system");
        assert_eq!(other.blame, Blame::Nobody);
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let hint = |url: &str| {
            unheard(&reset, &Address::new(&Secret::new(url)).unwrap(), "system").why.contains("write https://")
        };
        assert_eq!((hint("http://h:1"), hint("https://h:1")), (true, false));
    }
}
