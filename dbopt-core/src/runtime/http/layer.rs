//! A tower layer that runs each request in a [`Context`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use http::{HeaderName, HeaderValue, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::rate_limit;
use crate::context::{Context, Token};

/// Runs each request in a [`Context`], so that it sees its own writes; with a token header, so do the caller's next requests.
///
/// The token travels in the header `dbopt-token`: a response carries it when the request wrote, and a client that sends it back
/// with its next request is served nothing older, whichever instance answers. A token that cannot be read is ignored.
///
/// A request whose calls were limited is answered with `RateLimit` and `RateLimit-Policy` (what is left and when there will be more, as
/// far as this instance knows). If a limit refused one of its calls and the handler's answer is a server error, its status becomes 429, with
/// `Retry-After`; any other answer is the handler's own decision and stays as it is.
#[derive(Debug, Clone)]
pub struct ContextLayer {
    user_header: Option<HeaderName>,
    token_header: Option<HeaderName>,
    key_header: Option<HeaderName>,
    limits: bool,
}

impl ContextLayer {
    /// A context per request, with the token in the header `dbopt-token` and callers without names.
    pub fn new() -> Self {
        ContextLayer {
            user_header: None,
            token_header: Some(HeaderName::from_static("dbopt-token")),
            key_header: None,
            limits: true,
        }
    }

    /// Takes the caller's name from a request header.
    ///
    /// Only behind something that sets or removes that header itself: a client can write what it likes there.
    ///
    /// # Panics
    /// When `name` is no lower-case header name.
    #[must_use]
    pub fn user_header(mut self, name: &'static str) -> Self {
        self.user_header = Some(HeaderName::from_static(name));
        self
    }

    /// Tells callers without a name apart by a request header, for the limits: such as the address that a proxy notes. The last of
    /// several entries with commas counts, which is the one the nearest proxy wrote.
    ///
    /// Only behind something that sets that header itself.
    ///
    /// # Panics
    /// When `name` is no lower-case header name.
    #[must_use]
    pub fn key_header(mut self, name: &'static str) -> Self {
        self.key_header = Some(HeaderName::from_static(name));
        self
    }

    /// Says nothing of limits in the response, and leaves its status.
    #[must_use]
    pub fn without_limits(mut self) -> Self {
        self.limits = false;
        self
    }

    /// Carries the token in another header.
    ///
    /// # Panics
    /// When `name` is no lower-case header name.
    #[must_use]
    pub fn token_header(mut self, name: &'static str) -> Self {
        self.token_header = Some(HeaderName::from_static(name));
        self
    }

    /// Carries no token: a request sees its own writes, the next one may not.
    #[must_use]
    pub fn without_token(mut self) -> Self {
        self.token_header = None;
        self
    }

    fn context<B>(&self, request: &Request<B>) -> Context {
        let text = |name: &Option<HeaderName>| request.headers().get(name.as_ref()?)?.to_str().ok();
        let context = text(&self.user_header).map_or_else(Context::anonymous, Context::user);
        let key = text(&self.key_header).and_then(|key| key.rsplit(',').next()).map(str::trim);
        let context = key.map_or_else(|| context.clone(), |key| context.clone().key(key));
        let context = if self.limits { context.with_report() } else { context };
        match text(&self.token_header).map(str::parse::<Token>) {
            Some(Ok(token)) => context.with_token(token),
            Some(Err(_)) => {
                tracing::debug!("a request brought a token that cannot be read; ignored");
                context
            }
            None => context,
        }
    }
}

impl Default for ContextLayer {
    fn default() -> Self {
        ContextLayer::new()
    }
}

impl<S> Layer<S> for ContextLayer {
    type Service = ContextService<S>;

    fn layer(&self, inner: S) -> ContextService<S> {
        ContextService { inner, layer: self.clone() }
    }
}

/// The service that [`ContextLayer`] makes.
#[derive(Debug, Clone)]
pub struct ContextService<S> {
    inner: S,
    layer: ContextLayer,
}

impl<S, In, Out> Service<Request<In>> for ContextService<S>
where
    S: Service<Request<In>, Response = Response<Out>>,
    S::Future: Send + 'static,
{
    type Response = Response<Out>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Out>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        let context = self.layer.context(&request);
        let brought = context.latest_token();
        let token_header = self.layer.token_header.clone();
        let handled = self.inner.call(request);
        Box::pin(async move {
            let mut response = context.clone().scope(handled).await?;
            if let (Some(header), Some(token)) = (token_header, context.latest_token())
                && Some(token) != brought
                && let Ok(value) = HeaderValue::from_str(&token.to_string())
            {
                response.headers_mut().insert(header, value);
            }
            let consulted = context.consulted();
            let mut status = response.status();
            rate_limit::tell(&consulted, &mut status, response.headers_mut());
            *response.status_mut() = status;
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Lsn, Position};
    use std::convert::Infallible;
    use tower::{ServiceExt, service_fn};

    async fn answer(request: Request<()>) -> Response<String> {
        let handler = service_fn(|_: Request<()>| async {
            let context = Context::current().unwrap();
            let seen = format!("{:?} {:?}", context.user_id(), context.latest_token().map(|t| t.to_string()));
            if seen.contains("writer") {
                context.wrote(Position { timeline: 1, lsn: Lsn(77) });
            }
            Ok::<_, Infallible>(Response::new(seen))
        });
        ContextLayer::new().user_header("x-user").layer(handler).oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_request_that_wrote_gets_a_token_and_another_does_not() {
        let wrote = answer(Request::builder().header("x-user", "writer").body(()).unwrap()).await;
        assert_eq!(wrote.headers()["dbopt-token"], "1-0/4D");
        let read = answer(Request::builder().header("dbopt-token", "1-0/4D").body(()).unwrap()).await;
        assert_eq!(read.body(), "None Some(\"1-0/4D\")");
        assert!(!read.headers().contains_key("dbopt-token"));
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_read_is_ignored() {
        let read = answer(Request::builder().header("dbopt-token", "'; drop table").body(()).unwrap()).await;
        assert_eq!(read.body(), "None None");
    }
}
