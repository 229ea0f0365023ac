//! Verifies a token.

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group};
use idlewild::auth::jwt::Verifier;

use crate::fixture::{self, NOW_MS};

/// Tokens in one count.
const TOKENS: usize = 100;

fn tokens() -> (Verifier, Vec<String>) {
    let auth = fixture::auth();
    let verifier = Verifier::new(&auth).expect("the secret is long enough");
    let tokens: Vec<_> = (0..TOKENS)
        .map(|user| fixture::token(&auth, user))
        .collect();
    assert!(verifier.verify(&tokens[0], NOW_MS).is_ok());
    (verifier, tokens)
}

#[library_benchmark(setup = tokens)]
fn verify_hs256((verifier, tokens): (Verifier, Vec<String>)) -> (Verifier, Vec<String>) {
    for token in &tokens {
        assert!(verifier.verify(black_box(token), NOW_MS).is_ok());
    }
    (verifier, tokens)
}

library_benchmark_group!(name = jwt, benchmarks = verify_hs256);
