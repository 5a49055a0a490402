//! The question about a certificate, and whether an answer may be believed (RFC 6960 §3.2).

use super::super::policy::provider;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use http::StatusCode;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage};
use x509_cert::{
    der::{
        Any, Decode as _, Encode as _,
        asn1::{Null, ObjectIdentifier, OctetString},
    },
    serial_number::SerialNumber,
    spki::AlgorithmIdentifierOwned,
};
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspRequest, OcspResponse, OcspResponseStatus, Request, SingleResponse,
    TbsRequest,
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A question about one certificate.
pub(super) struct Question<'a> {
    id: CertId,
    issuer: &'a CertificateDer<'static>,
    request: Vec<u8>,
}

/// An answer that was verified.
#[derive(Debug)]
pub(super) struct Answer {
    bytes: Vec<u8>,
    until: UnixTime,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum OcspError {
    #[error("the chain does not hold the issuer of the certificate")]
    NoIssuer,
    #[error("the certificate cannot be asked about: {0}")]
    Certificate(String),
    #[error("the responder's address is not an HTTP URL")]
    Url,
    #[error("the responder's address is not one that may be asked")]
    Forbidden,
    #[error("the responder cannot be reached: {0}")]
    Connect(std::io::Error),
    #[error("the responder takes too long")]
    Timeout,
    #[error("the responder breaks HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the responder answers {0}")]
    Status(StatusCode),
    #[error("the answer broke off or is too large")]
    Body,
    #[error("the answer cannot be read: {0}")]
    Unreadable(#[from] x509_cert::der::Error),
    #[error("the responder refuses: {0:?}")]
    Refused(OcspResponseStatus),
    #[error("the answer is about another certificate")]
    Unrelated,
    #[error("the answer is not that the certificate is good")]
    NotGood,
    #[error("the answer is not valid now")]
    NotNow,
    #[error("the answer is not signed by the issuer or somebody on its behalf")]
    Signature,
}

const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");

const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");

/// The value of id-kp-OCSPSigning (RFC 6960 §4.2.2.2).
const OCSP_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 9];

/// How far clocks may be apart.
const SKEW: u64 = 300;

// === impl Question ===

impl<'a> Question<'a> {
    /// The question about the first certificate of a chain; the second is its issuer.
    pub(super) fn about(chain: &'a [CertificateDer<'static>]) -> Result<Self, OcspError> {
        let [leaf, issuer, ..] = chain else { return Err(OcspError::NoIssuer) };
        let parse = |certificate: &'a CertificateDer<'static>| {
            let parsed = X509Certificate::from_der(certificate);
            parsed.map(|(_, parsed)| parsed).map_err(|error| OcspError::Certificate(error.to_string()))
        };
        let (parsed, parsed_issuer) = (parse(leaf)?, parse(issuer)?);
        if parsed.issuer().as_raw() != parsed_issuer.subject().as_raw() {
            return Err(OcspError::NoIssuer);
        }
        let hash = |bytes: &[u8]| OctetString::new(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref());
        let id = CertId {
            // Every responder knows it, and nothing rests on its strength (RFC 5019 §2.1.1).
            hash_algorithm: AlgorithmIdentifierOwned { oid: SHA1, parameters: Some(Any::from(Null)) },
            issuer_name_hash: hash(parsed.issuer().as_raw())?,
            issuer_key_hash: hash(&parsed_issuer.public_key().subject_public_key.data)?,
            serial_number: SerialNumber::new(parsed.raw_serial())?,
        };
        let request = Request { req_cert: id.clone(), single_request_extensions: None };
        let tbs_request = TbsRequest { request_list: vec![request], ..TbsRequest::default() };
        let request = OcspRequest { tbs_request, optional_signature: None }.to_der()?;
        Ok(Self { id, issuer, request })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.request.clone()
    }

    /// Takes an answer only if it is about this certificate, good, valid now, and signed by who may.
    pub(super) fn verify(&self, bytes: Vec<u8>, now: UnixTime) -> Result<Answer, OcspError> {
        let response = OcspResponse::from_der(&bytes)?;
        if response.response_status != OcspResponseStatus::Successful {
            return Err(OcspError::Refused(response.response_status));
        }
        let basic = response.response_bytes.filter(|bytes| bytes.response_type == BASIC).ok_or(OcspError::Unrelated)?;
        let basic = BasicOcspResponse::from_der(basic.response.as_bytes())?;
        self.verify_signature(&basic, now)?;
        let is_ours = |single: &&SingleResponse| self.is_about(&single.cert_id);
        let single = basic.tbs_response_data.responses.iter().find(is_ours).ok_or(OcspError::Unrelated)?;
        if !matches!(single.cert_status, CertStatus::Good(_)) {
            return Err(OcspError::NotGood);
        }
        let since = single.this_update.0.to_unix_duration().as_secs();
        // Without an end newer answers are always there (RFC 6960 §4.2.2.1); others bound how long this one is used.
        let until = single.next_update.map_or(u64::MAX, |until| until.0.to_unix_duration().as_secs());
        if since > now.as_secs() + SKEW || until <= now.as_secs() {
            return Err(OcspError::NotNow);
        }
        Ok(Answer { bytes, until: UnixTime::since_unix_epoch(Duration::from_secs(until)) })
    }

    fn is_about(&self, id: &CertId) -> bool {
        // The parameters of the hash may be absent.
        id.hash_algorithm.oid == self.id.hash_algorithm.oid
            && id.issuer_name_hash == self.id.issuer_name_hash
            && id.issuer_key_hash == self.id.issuer_key_hash
            && id.serial_number == self.id.serial_number
    }

    /// RFC 6960 §4.2.2.2: the issuer, or somebody with its certificate for just that.
    fn verify_signature(&self, basic: &BasicOcspResponse, now: UnixTime) -> Result<(), OcspError> {
        if is_signed_by(basic, self.issuer)? {
            return Ok(());
        }
        let anchor = webpki::anchor_from_trusted_cert(self.issuer).map_err(|_| OcspError::Signature)?;
        for certificate in basic.certs.iter().flatten() {
            let certificate = CertificateDer::from(certificate.to_der()?);
            let Ok(responder) = EndEntityCert::try_from(&certificate) else { continue };
            let authorised = responder.verify_for_usage(
                provider().signature_verification_algorithms.all,
                std::slice::from_ref(&anchor),
                &[],
                now,
                KeyUsage::required(OCSP_SIGNING),
                None,
                None,
            );
            if authorised.is_ok() && is_signed_by(basic, &certificate)? {
                return Ok(());
            }
        }
        Err(OcspError::Signature)
    }
}

fn is_signed_by(basic: &BasicOcspResponse, signer: &CertificateDer<'_>) -> Result<bool, OcspError> {
    let Ok(signer) = EndEntityCert::try_from(signer) else { return Ok(false) };
    let (message, algorithm) = (basic.tbs_response_data.to_der()?, basic.signature_algorithm.to_der()?);
    // webpki names algorithms by the content of their SEQUENCE, which is shorter than 128 bytes.
    let algorithm = algorithm.get(2..).unwrap_or_default();
    let known = provider().signature_verification_algorithms.all;
    let mut matching = known.iter().filter(|known| known.signature_alg_id().as_ref() == algorithm);
    Ok(matching.any(|known| signer.verify_signature(*known, &message, basic.signature.raw_bytes()).is_ok()))
}

// === impl Answer ===

impl Answer {
    /// How long it is valid from now on.
    pub(super) fn lasts(&self, now: UnixTime) -> Duration {
        Duration::from_secs(self.until.as_secs().saturating_sub(now.as_secs()))
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests;
