//! `eventsource-client` (LaunchDarkly) from crates.io. It reconnects by itself, even after a refusal, so this program
//! checks the status. Its last id is that of the last event, even if that event has none (docs/clients.md).

use std::time::Duration;

use eventsource_client::{Client, ClientBuilder, Error, ReconnectOptions, SSE};
use futures_util::StreamExt;
use idlewild_interop::{Arguments, away, event, open, refused};
use launchdarkly_sdk_transport::HyperTransport;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::read();
    let mut builder = ClientBuilder::for_url(&arguments.url)?.reconnect(
        ReconnectOptions::reconnect(true)
            .delay(Duration::from_secs(1))
            .delay_max(Duration::from_secs(2))
            .build(),
    );
    if !arguments.token.is_empty() {
        builder = builder.header("Authorization", &format!("Bearer {}", arguments.token))?;
    }
    let client = builder.build_with_transport(HyperTransport::builder().build_http()?);
    let mut stream = client.stream();
    while let Some(next) = stream.next().await {
        match next {
            Ok(SSE::Connected(_)) => open(),
            Ok(SSE::Event(got)) => event(&got.event_type, got.id.as_deref(), &got.data),
            Ok(SSE::Comment(_)) => {}
            Err(Error::UnexpectedResponse(response, _)) => {
                refused(response.status());
                break;
            }
            Err(error) => away(&error.to_string()),
        }
    }
    Ok(())
}
