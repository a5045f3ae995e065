//! Tokens that must pass and tokens that must not (abuse rows 19 and 20).

use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use serde_json::{Value, json};

use super::*;

pub(in crate::auth) const NOW: u64 = 1_800_000_000_000;
const NOW_S: u64 = NOW / 1_000;
const USER: &str = "6f1f3c52-6d1b-4b57-9d29-5b8f7c0a1e11";

pub(in crate::auth) struct Rig {
    pair: Ed25519KeyPair,
    signer: TokenSigner,
    pub(in crate::auth) verifier: Arc<TokenVerifier>,
}

pub(in crate::auth) fn rig() -> Rig {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let signer = TokenSigner::from_pkcs8(document.as_ref()).unwrap();
    let verifier = Arc::new(verifier(&signer));
    Rig { pair: Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap(), signer, verifier }
}

fn verifier(signer: &TokenSigner) -> TokenVerifier {
    let rules = TokenRules { audience: "chat".into(), clock_skew: Duration::from_secs(60) };
    TokenVerifier::new(signer, "ringpost", rules)
}

fn claims() -> Value {
    json!({
        "iss": "ringpost", "aud": "chat", "sub": USER, "device": 5,
        "iat": NOW_S - 10, "exp": NOW_S + 900,
    })
}

fn encode(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

impl Rig {
    fn header(&self) -> Value {
        json!({"alg": "EdDSA", "typ": "JWT", "kid": self.signer.key_id()})
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    pub(in crate::auth) fn token(&self) -> String {
        self.sign(&self.header(), &claims())
    }

    fn with(&self, key: &str, value: Value) -> String {
        let mut changed = claims();
        changed[key] = value;
        self.sign(&self.header(), &changed)
    }

    fn without(&self, key: &str) -> String {
        let mut changed = claims();
        changed.as_object_mut().unwrap().remove(key);
        self.sign(&self.header(), &changed)
    }

    fn with_header(&self, key: &str, value: Value) -> String {
        let mut header = self.header();
        header[key] = value;
        self.sign(&header, &claims())
    }

    #[track_caller]
    fn refuses(&self, token: &str, expected: AuthError) {
        assert_eq!(self.verifier.verify(token, NOW), Err(expected), "{token}");
    }
}

#[test]
fn a_good_token_names_user_device_and_times() {
    let rig = rig();
    let verified = rig.verifier.verify(&rig.token(), NOW).unwrap();
    assert_eq!(verified.user.to_string(), USER);
    assert_eq!(verified.device.number(), 5);
    assert_eq!(verified.issued_at_ms, NOW - 10_000);
    assert_eq!(verified.expires_at_ms, NOW + 960_000);
    let many = rig.with("aud", json!(["mail", "chat"]));
    assert!(rig.verifier.verify(&many, NOW).is_ok());
}

#[test]
fn what_we_sign_we_take_with_its_exact_time_of_issue() {
    let rig = rig();
    let who = (UserId([9; 16]), DeviceId::new(127).unwrap());
    let issued_at_ms = NOW + 123;
    let issued = rig.signer.sign("ringpost", "chat", who, issued_at_ms, Duration::from_secs(900));
    assert_eq!(issued.expires_in_s, 900);
    let verified = rig.verifier.verify(&issued.token, NOW + 200).unwrap();
    assert_eq!((verified.user, verified.device), who);
    assert_eq!(verified.issued_at_ms, issued_at_ms);
}

#[test]
fn abuse_row_19_algorithm_none_in_any_spelling_is_refused() {
    let rig = rig();
    for name in ["none", "None", "NONE", "nOnE", ""] {
        let mut header = rig.header();
        header["alg"] = json!(name);
        let unsigned = format!("{}.{}.", encode(&header), encode(&claims()));
        rig.refuses(&unsigned, AuthError::Algorithm);
        rig.refuses(&rig.sign(&header, &claims()), AuthError::Algorithm);
    }
}

#[test]
fn abuse_row_19_hmac_with_the_public_key_as_secret_is_refused() {
    let rig = rig();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        URL_SAFE_NO_PAD.encode(rig.signer.public)
    );
    for secret in [rig.signer.public.as_slice(), pem.as_bytes()] {
        let mut header = rig.header();
        header["alg"] = json!("HS256");
        let message = format!("{}.{}", encode(&header), encode(&claims()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag));
        rig.refuses(&token, AuthError::Algorithm);
    }
    for name in ["RS256", "ES256", "PS512", "HS512"] {
        rig.refuses(&rig.with_header("alg", json!(name)), AuthError::Algorithm);
    }
}

#[test]
fn abuse_row_19_an_empty_cut_or_foreign_signature_is_refused() {
    let rig = rig();
    let token = rig.token();
    let (message, signature) = token.rsplit_once('.').unwrap();
    rig.refuses(&format!("{message}."), AuthError::Signature);
    rig.refuses(&format!("{message}.{}", &signature[..40]), AuthError::Signature);
    rig.refuses(&format!("{message}.{}", "A".repeat(86)), AuthError::Signature);
    let other = super::tests::rig();
    let foreign = other.sign(&rig.header(), &claims());
    rig.refuses(&foreign, AuthError::Signature);
    // Other claims under this signature.
    let swapped = encode(&json!({"sub": USER}));
    let header = message.split('.').next().unwrap();
    rig.refuses(&format!("{header}.{swapped}.{signature}"), AuthError::Signature);
}

#[test]
fn abuse_row_19_what_is_no_token_is_refused() {
    let rig = rig();
    let token = rig.token();
    for text in ["", ".", "..", "...", "a.b.c", "e30.e30.", "\u{0}", "é.é.é"] {
        assert!(rig.verifier.verify(text, NOW).is_err(), "{text:?}");
    }
    rig.refuses(&format!("{token}.{token}"), AuthError::Malformed);
    rig.refuses(&"x".repeat(TOKEN_BYTES_MAX + 1), AuthError::TooLong);
    rig.refuses(&rig.with_header("crit", json!(["exp"])), AuthError::Critical);
    // A claim that comes twice: which one counts must never be a question.
    let twice = claims().to_string().replacen('{', &format!("{{\"sub\":\"{USER}\","), 1);
    let message = format!("{}.{}", encode(&rig.header()), URL_SAFE_NO_PAD.encode(twice));
    let signature = URL_SAFE_NO_PAD.encode(rig.pair.sign(message.as_bytes()));
    rig.refuses(&format!("{message}.{signature}"), AuthError::Claims);
}

#[test]
fn abuse_row_20_times_are_checked_with_sixty_seconds_of_skew() {
    let rig = rig();
    let check = |key: &str, seconds: u64, expected: Result<(), AuthError>| {
        let mut changed = claims();
        changed["iat"] = json!(NOW_S - 1_000);
        changed[key] = json!(seconds);
        let token = rig.sign(&rig.header(), &changed);
        let answer = rig.verifier.verify(&token, NOW).map(|_| ());
        assert_eq!(answer, expected, "{key} {seconds}");
    };
    check("exp", NOW_S - 59, Ok(()));
    check("exp", NOW_S - 60, Err(AuthError::Expired));
    check("exp", NOW_S - 61, Err(AuthError::Expired));
    check("nbf", NOW_S + 59, Ok(()));
    check("nbf", NOW_S + 60, Ok(()));
    check("nbf", NOW_S + 61, Err(AuthError::NotYet));
    check("iat", NOW_S + 59, Ok(()));
    check("iat", NOW_S + 61, Err(AuthError::NotYet));
    // No `exp` stretches a token beyond the longest life.
    check("exp", u64::MAX, Ok(()));
    let aged = |seconds: u64| {
        let mut old = claims();
        old["iat"] = json!(NOW_S - seconds);
        rig.verifier.verify(&rig.sign(&rig.header(), &old), NOW).map(|_| ())
    };
    assert_eq!(aged(86_400 + 59), Ok(()));
    assert_eq!(aged(86_400 + 61), Err(AuthError::Expired));
    check("exp", 0, Err(AuthError::Claims));
    check("nbf", u64::MAX, Err(AuthError::Claims));
}

#[test]
fn abuse_row_20_wrong_audience_issuer_subject_and_device_are_refused() {
    let rig = rig();
    rig.refuses(&rig.with("aud", json!("Chat")), AuthError::Audience);
    rig.refuses(&rig.with("aud", json!(["mail"])), AuthError::Audience);
    rig.refuses(&rig.with("aud", json!([])), AuthError::Audience);
    rig.refuses(&rig.with("iss", json!("ringpost/")), AuthError::Issuer);
    for sub in
        [json!("admin"), json!(7), json!(null), json!("00000000-0000-0000-0000-000000000000")]
    {
        rig.refuses(&rig.with("sub", sub), AuthError::Claims);
    }
    for device in [json!(0), json!(128), json!(-1), json!(256), json!("5"), json!(5.5)] {
        rig.refuses(&rig.with("device", device), AuthError::Claims);
    }
    for key in ["iss", "aud", "sub", "device", "iat", "exp"] {
        rig.refuses(&rig.without(key), AuthError::Claims);
    }
    rig.refuses(&rig.with("iat_ms", json!(NOW)), AuthError::Claims);
    rig.refuses(&rig.with("exp", json!(-5)), AuthError::Claims);
    rig.refuses(&rig.with("exp", json!("soon")), AuthError::Claims);
}

#[test]
fn abuse_row_20_an_unknown_key_is_refused_and_nothing_is_looked_up_for_it() {
    let rig = rig();
    for id in ["other", "../../keys/token.pk8", "/dev/zero", "' OR 1=1", "http://evil/", ""] {
        rig.refuses(&rig.with_header("kid", json!(id)), AuthError::UnknownKey);
    }
    let mut header = rig.header();
    header.as_object_mut().unwrap().remove("kid");
    rig.refuses(&rig.sign(&header, &claims()), AuthError::UnknownKey);
    // The attacker's own key, named by reference and by value, with an id of his own.
    let other = super::tests::rig();
    let x = URL_SAFE_NO_PAD.encode(other.signer.public);
    let header = json!({
        "alg": "EdDSA", "kid": "mine", "jku": "http://127.0.0.1:1/jwks", "x5u": "http://127.0.0.1:1/",
        "jwk": {"kty": "OKP", "crv": "Ed25519", "x": x},
    });
    rig.refuses(&other.sign(&header, &claims()), AuthError::UnknownKey);
    let mut header = header;
    header["kid"] = json!(rig.signer.key_id());
    rig.refuses(&other.sign(&header, &claims()), AuthError::Signature);
}

#[test]
fn an_outside_provider_speaks_for_its_own_issuer_alone() {
    let rig = rig();
    let outside = super::tests::rig();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let x = URL_SAFE_NO_PAD.encode(outside.signer.public);
    let set = json!({"keys": [
        {"kty": "RSA", "kid": "rsa", "n": "AQAB", "e": "AQAB"},
        {"kty": "OKP", "crv": "X25519", "x": x, "kid": "dh"},
        {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "enc", "use": "enc"},
        {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "idp-1", "use": "sig", "alg": "EdDSA"},
    ]});
    std::fs::write(&path, set.to_string()).unwrap();
    let mut verifier = verifier(&rig.signer);
    assert_eq!(verifier.add_jwks(&path, "https://idp.example").unwrap(), 1);

    let mut theirs = claims();
    theirs["iss"] = json!("https://idp.example");
    let header = json!({"alg": "EdDSA", "kid": "idp-1"});
    assert!(verifier.verify(&outside.sign(&header, &theirs), NOW).is_ok());
    // The provider's key does not speak for us, nor ours for the provider.
    assert_eq!(verifier.verify(&outside.sign(&header, &claims()), NOW), Err(AuthError::Issuer));
    let ours = rig.sign(&rig.header(), &theirs);
    assert_eq!(verifier.verify(&ours, NOW), Err(AuthError::Issuer));
    for id in ["rsa", "dh", "enc"] {
        let header = json!({"alg": "EdDSA", "kid": id});
        let answer = verifier.verify(&outside.sign(&header, &theirs), NOW);
        assert_eq!(answer, Err(AuthError::UnknownKey), "{id}");
    }
    assert!(matches!(verifier.add_jwks(&path, "x"), Err(JwksError::SameId(_))));
}

#[test]
fn a_key_file_without_a_usable_key_says_so() {
    let rig = rig();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let mut verifier = verifier(&rig.signer);
    assert!(matches!(verifier.add_jwks(&path, "x"), Err(JwksError::File(_))));
    std::fs::write(&path, "{}").unwrap();
    assert!(matches!(verifier.add_jwks(&path, "x"), Err(JwksError::Syntax { .. })));
    std::fs::write(&path, r#"{"keys": [{"kty": "RSA"}]}"#).unwrap();
    assert!(matches!(verifier.add_jwks(&path, "x"), Err(JwksError::NoKey { .. })));
}
