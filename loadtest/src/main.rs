//! tmp
mod clock;
mod engine;
mod parse;
mod sys;
mod token;
fn main() {}
