//! An OCSP responder for one authority: every certificate is good.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use x509_cert::der::asn1::{BitString, ObjectIdentifier, OctetString};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{
    BasicOcspResponse, CertStatus, OcspGeneralizedTime, OcspRequest, OcspResponse, OcspResponseStatus, ResponderId,
    ResponseBytes, ResponseData, SingleResponse, Version,
};

use crate::address;
use crate::certificate::Authority;
use crate::pod::PORT;

const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");

/// A responder; runs until it is dropped.
pub struct Responder {
    address: SocketAddr,
    answered: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

// === impl Responder ===

impl Responder {
    /// A responder that speaks for an authority.
    ///
    /// # Errors
    /// When no address can be bound.
    pub async fn start(authority: Arc<Authority>) -> Result<Self> {
        let address = SocketAddr::new(address::pod(), PORT);
        let listener = TcpListener::bind(address).await.with_context(|| format!("binding {address}"))?;
        let answered = Arc::new(AtomicUsize::new(0));
        let server = tokio::spawn(serve(listener, authority, Arc::clone(&answered)));
        Ok(Self { address, answered, server })
    }

    /// What stands in the certificates that it answers for.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/ocsp", self.address)
    }

    /// How often it was asked.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.answered.load(SeqCst)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, authority: Arc<Authority>, answered: Arc<AtomicUsize>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (authority, answered) = (Arc::clone(&authority), Arc::clone(&answered));
        let service = service_fn(move |request: Request<Incoming>| {
            let (authority, answered) = (Arc::clone(&authority), Arc::clone(&answered));
            async move {
                let answer = match request.into_body().collect().await {
                    Ok(body) => answer(&authority, &body.to_bytes()),
                    Err(error) => Err(error.into()),
                };
                answered.fetch_add(1, SeqCst);
                // Whoever asks for nonsense gets an empty answer.
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(answer.unwrap_or_default()))))
            }
        });
        // A client that goes away is none of the responder's business.
        tokio::spawn(async move {
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await)
        });
    }
}

fn answer(authority: &Authority, request: &[u8]) -> Result<Vec<u8>> {
    let now = SystemTime::now();
    let time = |time| OcspGeneralizedTime::try_from(time);
    let mut responses = vec![];
    for request in OcspRequest::from_der(request)?.tbs_request.request_list {
        responses.push(SingleResponse {
            cert_id: request.req_cert,
            cert_status: CertStatus::good(),
            this_update: time(now - Duration::from_secs(3600))?,
            next_update: Some(time(now + Duration::from_secs(86_400))?),
            single_extensions: None,
        });
    }
    let data = ResponseData {
        version: Version::default(),
        responder_id: ResponderId::ByKey(OctetString::new(vec![0; 20])?),
        produced_at: time(now)?,
        responses,
        response_extensions: None,
    };
    let signature = BitString::from_bytes(&authority.sign_bytes(&data.to_der()?)?)?;
    let signature_algorithm = AlgorithmIdentifierOwned { oid: ECDSA_SHA256, parameters: None };
    let basic = BasicOcspResponse { tbs_response_data: data, signature_algorithm, signature, certs: None };
    let response = OctetString::new(basic.to_der()?)?;
    let response_bytes = Some(ResponseBytes { response_type: BASIC, response });
    Ok(OcspResponse { response_status: OcspResponseStatus::Successful, response_bytes }.to_der()?)
}
