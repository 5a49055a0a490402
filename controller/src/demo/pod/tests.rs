use super::{Echo, Identity, Pod};
use crate::demo::client::{Protocol, Route};
use bytes::Bytes;
use http::{Method, StatusCode};

async fn pod() -> Pod {
    let identity = Identity { namespace: "default".to_owned(), service: "web".to_owned(), name: "web-1".to_owned() };
    Pod::start(identity).await.unwrap()
}

#[tokio::test]
async fn says_what_it_received() {
    let pod = pod().await;
    let route = Route::Http(pod.address());
    let body = Bytes::from_static(b"12345");
    let answer = route.request(Protocol::Http1, Method::PUT, "a.example:81", "/p/a%20th?q=1&q=2", body).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    let echo: Echo = serde_json::from_slice(&answer.body).unwrap();
    let expected = Echo {
        pod: "web-1".to_owned(),
        service: "web".to_owned(),
        namespace: "default".to_owned(),
        method: "PUT".to_owned(),
        host: "a.example:81".to_owned(),
        path: "/p/a%20th".to_owned(),
        query: Some("q=1&q=2".to_owned()),
        version: "HTTP/1.1".to_owned(),
        tls: false,
        headers: vec!["host: a.example:81".to_owned(), "content-length: 5".to_owned()],
        body_length: 5,
    };
    assert_eq!(echo, expected);
}

#[tokio::test]
async fn echoes_over_a_websocket() {
    let pod = pod().await;
    let mut socket = Route::Http(pod.address()).websocket("a.example", "/").await.unwrap();
    socket.round_trip("hello").await.unwrap();
    socket.round_trip(&"x".repeat(70_000)).await.unwrap();
    socket.close().await.unwrap();
}

#[tokio::test]
async fn is_gone_when_dropped() {
    let pod = pod().await;
    let route = Route::Http(pod.address());
    route.get("a.example", "/").await.unwrap();
    drop(pod);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while route.get("a.example", "/").await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "the pod still answers");
        tokio::task::yield_now().await;
    }
}
