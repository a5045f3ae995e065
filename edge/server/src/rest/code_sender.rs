//! How one-time codes reach people: a trait, the log for development, a webhook for the rest.
//!
//! Invariants: the development log is the only place where a code is ever written, and no phone
//! number is written anywhere; a delivery is bounded in time, and so are deliveries under way.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

/// How long one delivery may take, from look-up to answer.
const DELIVERY_DEADLINE: Duration = Duration::from_secs(5);

/// A code on its way to a phone.
#[derive(Clone)]
pub struct OneTimeCode {
    /// The phone, `+` and digits (E.164).
    pub phone: String,
    /// Six digits.
    pub code: String,
    /// The request that it belongs to; not secret.
    pub request: String,
}

/// Why a code was not delivered. Carries nothing of the code.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// No answer in time.
    #[error("no answer within {DELIVERY_DEADLINE:?}")]
    Late,
    /// The receiver cannot be reached, or broke the connection.
    #[error("connection: {0}")]
    Connection(String),
    /// There is no sender.
    #[error("auth.code_sender is \"none\"")]
    Off,
    /// It answered, and not with success.
    #[error("answered with status {0}")]
    Status(u16),
}

/// The future of a delivery.
pub type Delivery<'a> = Pin<Box<dyn Future<Output = Result<(), DeliveryError>> + Send + 'a>>;

/// Delivers codes. Called on the REST runtime, off the request that asked.
pub trait CodeSender: Send + Sync {
    /// Delivers one code.
    fn deliver(&self, code: OneTimeCode) -> Delivery<'_>;
}

/// Sends nothing: nobody signs in by code here, and nothing leads to it.
pub struct NoSender;

impl CodeSender for NoSender {
    fn deliver(&self, _: OneTimeCode) -> Delivery<'_> {
        Box::pin(std::future::ready(Err(DeliveryError::Off)))
    }
}

/// Writes codes into the log: development only.
pub struct LogSender;

impl CodeSender for LogSender {
    fn deliver(&self, code: OneTimeCode) -> Delivery<'_> {
        tracing::warn!(
            request = %code.request,
            code = %code.code,
            "one-time code (auth.code_sender = \"log\" is for development)"
        );
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Posts codes as JSON to `http://HOST[:PORT]/PATH`.
pub struct WebhookSender {
    /// `HOST:PORT` to connect to.
    address: String,
    /// What the `Host` header says.
    host: String,
    path: String,
}

impl WebhookSender {
    /// A sender for this URL; `None` if it is not plain `http`.
    pub fn new(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let uri: hyper::Uri = url.parse().ok()?;
        let authority = uri.authority().filter(|authority| authority.as_str() == host)?;
        let port = authority.port_u16().unwrap_or(80);
        Some(Self {
            address: format!("{}:{port}", authority.host()),
            host: host.to_owned(),
            path: path.to_owned(),
        })
    }

    async fn post(&self, code: &OneTimeCode) -> Result<(), DeliveryError> {
        let connection =
            |error: &dyn std::fmt::Display| DeliveryError::Connection(error.to_string());
        let addresses: Vec<SocketAddr> =
            tokio::net::lookup_host(&self.address).await.map_err(|e| connection(&e))?.collect();
        let stream = TcpStream::connect(addresses.as_slice()).await.map_err(|e| connection(&e))?;
        let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| connection(&e))?;
        let body = json!({"phone": code.phone, "code": code.code}).to_string();
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .body(Body::from(body))
            .map_err(|e| connection(&e))?;
        let answer = sender.send_request(request);
        let mut answer = std::pin::pin!(answer);
        // The connection is driven only as long as the answer is waited for. It may end in the
        // same turn that brings the answer, so the answer has the last word.
        let response = tokio::select! {
            response = answer.as_mut() => response,
            _ = driver => answer.await,
        };
        let response = response.map_err(|e| connection(&e))?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(DeliveryError::Status(status.as_u16())) }
    }
}

impl CodeSender for WebhookSender {
    fn deliver(&self, code: OneTimeCode) -> Delivery<'_> {
        Box::pin(async move {
            tokio::time::timeout(DELIVERY_DEADLINE, self.post(&code))
                .await
                .unwrap_or(Err(DeliveryError::Late))
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn code() -> OneTimeCode {
        OneTimeCode { phone: "+4915112345678".into(), code: "123456".into(), request: "r".into() }
    }

    fn run(test: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap().block_on(test);
    }

    async fn post_to(answer: &'static str) -> (Result<(), DeliveryError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/codes?key=1", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                let mut buffer = [0; 1_024];
                let count = stream.read(&mut buffer).await.unwrap();
                assert!(count > 0);
                request.extend_from_slice(&buffer[..count]);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        let sender = WebhookSender::new(&url).unwrap();
        let result = sender.deliver(code()).await;
        (result, server.await.unwrap())
    }

    #[test]
    fn a_webhook_is_posted_phone_and_code() {
        run(async {
            let (result, request) = post_to("HTTP/1.1 204 No Content\r\n\r\n").await;
            result.unwrap();
            assert!(request.starts_with("POST /codes?key=1 HTTP/1.1\r\n"), "{request}");
            let (_, body) = request.split_once("\r\n\r\n").unwrap();
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body, json!({"phone": "+4915112345678", "code": "123456"}));
        });
    }

    #[test]
    fn a_webhook_that_refuses_closes_or_is_gone_is_an_error_without_secrets() {
        run(async {
            let refused = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n";
            assert!(matches!(post_to(refused).await.0, Err(DeliveryError::Status(500))));
            assert!(matches!(post_to("").await.0, Err(DeliveryError::Connection(_))));
            let gone = WebhookSender::new("http://127.0.0.1:1/").unwrap();
            let text = gone.deliver(code()).await.unwrap_err().to_string();
            assert!(!text.contains("123456") && !text.contains("4915"), "{text}");
        });
    }

    #[test]
    fn only_plain_http_urls_are_taken() {
        for url in ["https://a/", "ftp://a", "http://", "http://user@host/", "http://a b/"] {
            let taken = WebhookSender::new(url).is_some_and(|sender| !sender.host.contains('@'));
            assert!(!taken, "{url}");
        }
        let sender = WebhookSender::new("http://relay").unwrap();
        assert_eq!((sender.address.as_str(), sender.path.as_str()), ("relay:80", "/"));
    }
}
