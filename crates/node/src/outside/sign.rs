//! The signature of a request, as the specification *Standard Webhooks* 1.0 has it: HMAC-SHA256 over the id, the time and
//! the body, so that whoever receives it can tell that it comes from here, is whole, and is new.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// What secrets begin with whose key is written in Base64.
const ENCODED: &str = "whsec_";

/// The value of the header `webhook-signature`.
///
/// # Errors
/// When the secret says that it is Base64 and is not. The secret is not shown.
pub(super) fn signature(secret: &str, (id, seconds): (&str, i64), body: &[u8]) -> Result<String, String> {
    let key = match secret.strip_prefix(ENCODED) {
        Some(encoded) => STANDARD
            .decode(encoded)
            .map_err(|_| format!("the secret begins with {ENCODED}, and what follows is not Base64"))?,
        None => secret.as_bytes().to_vec(),
    };
    if key.is_empty() {
        return Err("the secret is empty, so nothing can be signed with it".to_owned());
    }
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
    context.update(format!("{id}.{seconds}.").as_bytes());
    context.update(body);
    Ok(format!("v1,{}", STANDARD.encode(context.sign())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_request_is_signed_as_the_specification_has_it() {
        // The example of the specification's reference libraries.
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let (id, time, body) = (
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(
            signature(secret, (id, time), body).unwrap(),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_secret_that_cannot_sign_says_so_and_is_not_shown() {
        let error = signature("whsec_%%hush%%", ("a", 1), b"").unwrap_err();
        assert!(error.contains("Base64") && !error.contains("hush"), "{error}");
        assert!(signature("", ("a", 1), b"").is_err());
        assert!(signature("plain text", ("a", 1), b"").is_ok());
    }
}
