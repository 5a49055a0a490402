use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber as Serial, SigningKey as _,
};
use std::time::SystemTime;
use x509_cert::der::asn1::BitString;
use x509_ocsp::{OcspGeneralizedTime, ResponderId, ResponseBytes, ResponseData, Version};

const DAY: Duration = Duration::from_secs(86_400);
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");

struct Authority {
    params: CertificateParams,
    key: KeyPair,
    der: CertificateDer<'static>,
}

/// What a responder says, and what it could say wrong.
struct Says<'a> {
    status: CertStatus,
    since: SystemTime,
    until: Option<SystemTime>,
    id: CertId,
    key: &'a KeyPair,
    certificates: Vec<CertificateDer<'static>>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key");
        let der = params.self_signed(&key).expect("a root").der().clone();
        Self { params, key, der }
    }

    fn sign(&self, serial: u64, usage: Option<ExtendedKeyUsagePurpose>) -> (CertificateDer<'static>, KeyPair) {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
        params.serial_number = Some(Serial::from(serial));
        params.extended_key_usages.extend(usage);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).expect("a leaf");
        (certificate.der().clone(), key)
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.sign(7, None).0, self.der.clone()]
    }

    fn says(&self, question: &Question<'_>) -> Says<'_> {
        let now = SystemTime::now();
        let (status, until) = (CertStatus::good(), Some(now + DAY));
        Says { status, since: now - DAY, until, id: question.id.clone(), key: &self.key, certificates: Vec::new() }
    }
}

impl Says<'_> {
    fn bytes(self) -> Vec<u8> {
        let time = |time: SystemTime| OcspGeneralizedTime::try_from(time).expect("a time");
        let single = SingleResponse {
            cert_id: self.id,
            cert_status: self.status,
            this_update: time(self.since),
            next_update: self.until.map(time),
            single_extensions: None,
        };
        let data = ResponseData {
            version: Version::default(),
            responder_id: ResponderId::ByKey(OctetString::new(vec![0; 20]).expect("a hash")),
            produced_at: time(SystemTime::now()),
            responses: vec![single],
            response_extensions: None,
        };
        let signature = self.key.sign(&data.to_der().expect("DER")).expect("a signature");
        let certificates: Vec<_> = self
            .certificates
            .iter()
            .map(|certificate| x509_cert::Certificate::from_der(certificate).expect("a certificate"))
            .collect();
        let basic = BasicOcspResponse {
            tbs_response_data: data,
            signature_algorithm: AlgorithmIdentifierOwned { oid: ECDSA_SHA256, parameters: None },
            signature: BitString::from_bytes(&signature).expect("bits"),
            certs: (!certificates.is_empty()).then_some(certificates),
        };
        let response = OctetString::new(basic.to_der().expect("DER")).expect("octets");
        let response_bytes = Some(ResponseBytes { response_type: BASIC, response });
        let response = OcspResponse { response_status: OcspResponseStatus::Successful, response_bytes };
        response.to_der().expect("DER")
    }
}

fn verify(question: &Question<'_>, says: Says<'_>) -> Result<Answer, OcspError> {
    question.verify(says.bytes(), UnixTime::now())
}

#[test]
fn the_issuer_says_that_a_certificate_is_good() {
    let authority = Authority::new();
    let chain = authority.chain();
    let question = Question::about(&chain).expect("a question");
    let asked = OcspRequest::from_der(&question.bytes()).expect("a request");
    assert_eq!(asked.tbs_request.request_list[0].req_cert, question.id);
    let answer = verify(&question, authority.says(&question)).expect("an answer");
    let lasts = answer.lasts(UnixTime::now());
    assert!(lasts > DAY - Duration::from_secs(60) && lasts <= DAY, "{lasts:?}");
    let endless = Says { until: None, ..authority.says(&question) };
    assert!(verify(&question, endless).expect("an answer").lasts(UnixTime::now()) > 365 * DAY);
}

#[test]
fn what_is_not_good_or_not_now_is_not_stapled() {
    let authority = Authority::new();
    let chain = authority.chain();
    let question = Question::about(&chain).expect("a question");
    let now = SystemTime::now();
    let says = || authority.says(&question);
    let revoked = x509_ocsp::RevokedInfo {
        revocation_time: OcspGeneralizedTime::try_from(now).expect("a time"),
        revocation_reason: None,
    };
    for status in [CertStatus::revoked(revoked), CertStatus::unknown()] {
        assert!(matches!(verify(&question, Says { status, ..says() }), Err(OcspError::NotGood)));
    }
    let old = Says { until: Some(now - Duration::from_secs(1)), ..says() };
    assert!(matches!(verify(&question, old), Err(OcspError::NotNow)));
    let early = Says { since: now + DAY, until: Some(now + 2 * DAY), ..says() };
    assert!(matches!(verify(&question, early), Err(OcspError::NotNow)));
    let mut other = question.id.clone();
    other.serial_number = SerialNumber::new(&[8]).expect("a number");
    assert!(matches!(verify(&question, Says { id: other, ..says() }), Err(OcspError::Unrelated)));
    let refusal = OcspResponse::try_later().to_der().expect("DER");
    assert!(matches!(question.verify(refusal, UnixTime::now()), Err(OcspError::Refused(_))));
    assert!(matches!(question.verify(b"nonsense".to_vec(), UnixTime::now()), Err(OcspError::Unreadable(_))));
}

#[test]
fn only_the_issuer_and_its_responders_are_believed() {
    let (authority, other) = (Authority::new(), Authority::new());
    let chain = authority.chain();
    let question = Question::about(&chain).expect("a question");
    let answer = |key: &KeyPair, certificates: Vec<CertificateDer<'static>>| {
        verify(&question, Says { key, certificates, ..authority.says(&question) })
    };
    let refused = |key: &KeyPair, certificates| matches!(answer(key, certificates), Err(OcspError::Signature));
    assert!(refused(&other.key, vec![]));
    assert!(refused(&other.key, vec![other.der.clone()]));
    let (responder, key) = authority.sign(9, Some(ExtendedKeyUsagePurpose::OcspSigning));
    assert!(answer(&key, vec![responder.clone()]).is_ok());
    // Its certificate, somebody else's key.
    assert!(refused(&other.key, vec![responder]));
    // A certificate for something else.
    for usage in [None, Some(ExtendedKeyUsagePurpose::ServerAuth)] {
        let (server, key) = authority.sign(10, usage);
        assert!(refused(&key, vec![server]));
    }
    let (foreign, key) = other.sign(11, Some(ExtendedKeyUsagePurpose::OcspSigning));
    assert!(refused(&key, vec![foreign]));
    let mut forged = authority.says(&question).bytes();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(question.verify(forged, UnixTime::now()).is_err());
}

#[test]
fn a_chain_without_its_issuer_cannot_be_asked_about() {
    let (authority, other) = (Authority::new(), Authority::new());
    let chain = authority.chain();
    assert!(matches!(Question::about(&chain[..1]), Err(OcspError::NoIssuer)));
    assert!(Question::about(&chain).is_ok());
    // The same name, another key: the question is asked, and the answer not believed.
    let wrong = [chain[0].clone(), other.der.clone()];
    let question = Question::about(&wrong).expect("a question");
    assert!(matches!(verify(&question, authority.says(&question)), Err(OcspError::Signature)));
}
