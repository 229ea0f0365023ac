//! Unpredictable bytes and names.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// `N` unpredictable bytes.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[allow(clippy::expect_used)]
    getrandom::fill(&mut bytes)
        .expect("getrandom(2) cannot fail for a few bytes once the kernel has booted");
    bytes
}

/// 256 unpredictable bits as 43 characters, which need no escaping in a URL, a header or a shell.
pub(crate) fn random_name() -> String {
    URL_SAFE_NO_PAD.encode(random::<32>())
}
