//! The `idlewild` command.
fn main() -> anyhow::Result<()> {
    let sources = idlewild::config::Sources { file: std::env::args().nth(1).map(Into::into), env: std::env::vars().collect(), flags: vec![], dev: true };
    let config = idlewild::config::load(&sources)?;
    eprintln!("key {}", config.admin.api_key);
    idlewild::server::run(&config, &sources)
}
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;
