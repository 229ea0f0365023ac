//! The load-test harness of Idlewild.

fn main() {}
