//! `reqwest-eventsource` from crates.io. It reconnects by itself, except after a status other than 200. Its last id is
//! that of the last event, even if that event has none (docs/clients.md).

use futures_util::StreamExt;
use idlewild_interop::{Arguments, away, event, open, refused};
use reqwest::Client;
use reqwest_eventsource::{Error, Event, EventSource};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::read();
    let mut request = Client::new().get(&arguments.url);
    if !arguments.token.is_empty() {
        request = request.bearer_auth(&arguments.token);
    }
    let mut stream = EventSource::new(request)?;
    while let Some(next) = stream.next().await {
        match next {
            Ok(Event::Open) => open(),
            Ok(Event::Message(got)) => event(&got.event, Some(&got.id), &got.data),
            Err(Error::InvalidStatusCode(status, _)) => refused(status.as_u16()),
            Err(error) => away(&error.to_string()),
        }
    }
    Ok(())
}
