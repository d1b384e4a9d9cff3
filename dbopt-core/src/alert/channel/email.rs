//! Mail over SMTP.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::time::Instant;

use crate::alert::config::{self, Tls as Encryption};
use crate::alert::deliver::{Failure, Notifier};
use crate::alert::notification::Message;

pub(super) struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    password: String,
}

impl Email {
    pub(super) fn new(config: &config::Email, patience: Duration) -> Result<Self, String> {
        let parameters = || TlsParameters::new(config.host.clone());
        let tls = match config.tls {
            Encryption::None => Ok(Tls::None),
            Encryption::StartTls => parameters().map(Tls::Required),
            Encryption::Tls => parameters().map(Tls::Wrapper),
        };
        let tls = tls.map_err(|why| format!("alerts.email.host: TLS cannot be set up: {why}"))?;
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
            .port(config.port)
            .tls(tls)
            .timeout(Some(patience));
        if !config.user.is_empty() {
            let (user, password) = (config.user.clone(), config.password.expose().to_owned());
            transport = transport.credentials(Credentials::new(user, password));
        }
        let mailbox = |key: &str, text: &str| {
            text.parse::<Mailbox>().map_err(|why| format!("alerts.email.{key} = \"{text}\" is no address: {why}"))
        };
        Ok(Email {
            transport: transport.build(),
            from: mailbox("from", &config.from)?,
            to: config.to.iter().map(|to| mailbox("to", to)).collect::<Result<_, _>>()?,
            password: config.password.expose().to_owned(),
        })
    }

    fn mail(&self, message: &Message) -> Result<lettre::Message, Failure> {
        // The same for each attempt, so that a mail server or reader can drop what it has already.
        let id = format!("<{}@dbopt.invalid>", message.id);
        // A title has one line, whatever a server's message in it holds.
        let subject = message.title().split_whitespace().collect::<Vec<_>>().join(" ");
        let mut mail = lettre::Message::builder().from(self.from.clone()).message_id(Some(id)).subject(subject);
        for to in &self.to {
            mail = mail.to(to.clone());
        }
        let text = format!("{}\n\n{}\n", message.title(), message.lines(Instant::now()).join("\n"));
        mail.header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(|why| Failure::lasting(format!("the mail cannot be written: {why}")))
    }

    fn failure(&self, error: &SmtpError) -> Failure {
        let mut why = error.to_string();
        let mut next = std::error::Error::source(error);
        while let Some(cause) = next {
            let cause_text = cause.to_string();
            if !why.contains(&cause_text) {
                why = format!("{why}: {cause_text}");
            }
            next = cause.source();
        }
        if !self.password.is_empty() {
            why = why.replace(&self.password, "(hidden)");
        }
        if error.is_permanent() { Failure::lasting(why) } else { Failure::passing(why) }
    }
}

impl Notifier for Email {
    fn name(&self) -> &'static str {
        "email"
    }

    fn deliver<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Result<String, Failure>> {
        Box::pin(async move {
            let answer = self.transport.send(self.mail(message)?).await.map_err(|error| self.failure(&error))?;
            let words: Vec<&str> = answer.message().collect();
            Ok(format!("{} {}", answer.code(), words.join(" ")).trim_end().to_owned())
        })
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Email").field("from", &self.from).field("to", &self.to).finish_non_exhaustive()
    }
}
