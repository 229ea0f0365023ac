//! `POST {base}/login/`, for development and small deployments. It uses a user file and replaces Django's
//! login view.

use std::net::IpAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;

use super::accounts::Login;
use crate::auth::accounts::Account;
use crate::auth::failures::{FailureKey, WINDOW_MS};
use crate::auth::mint::{Claims, MintError, mint};
use crate::event::UserId;
use crate::hub::engine::EngineError;
use crate::public::answer::{error, json};
use crate::public::connection::HttpConnection;
use crate::public::service::Public;

/// The largest body of a login, which holds an email address and a password.
const MAX_BODY_BYTES: usize = 4 * 1024;

/// An error during a login, other than a wrong password.
#[derive(Debug, Error)]
enum LoginError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Mint(#[from] MintError),
    #[error("the user file contains an invalid id: {0}")]
    User(#[from] crate::event::InvalidEvent),
}

#[derive(Deserialize)]
struct Attempt {
    email: String,
    password: String,
}

pub(crate) async fn answer(
    connection: &HttpConnection,
    request: &mut Request<Incoming>,
) -> Response<Full<Bytes>> {
    let public = &connection.public;
    let address = connection.address(request.headers());
    connection.forbid_half_close();
    let body = Limited::new(request.body_mut(), MAX_BODY_BYTES)
        .collect()
        .await;
    connection.allow_half_close();
    let body = match body {
        Ok(body) => body,
        Err(reason) if reason.is::<LengthLimitError>() => {
            return error(StatusCode::PAYLOAD_TOO_LARGE, "Body too large");
        }
        Err(_) => return error(StatusCode::BAD_REQUEST, "The body was cut off"),
    };
    let Ok(attempt) = serde_json::from_slice::<Attempt>(&body.to_bytes()) else {
        return error(
            StatusCode::BAD_REQUEST,
            "Expected JSON with \"email\" and \"password\"",
        );
    };
    // On this thread, hashing would delay every stream of the shard.
    let work = log_in(Arc::clone(public), attempt, address);
    match connection.run_protected(public.control.spawn(work)).await {
        Ok(response) => response,
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "Login failed"),
    }
}

async fn log_in(
    public: Arc<Public>,
    attempt: Attempt,
    address: Option<IpAddr>,
) -> Response<Full<Bytes>> {
    let Some(login) = &public.login else {
        return error(StatusCode::NOT_FOUND, "Not found");
    };
    let keys: Vec<FailureKey> = address
        .map(FailureKey::address)
        .into_iter()
        .chain([FailureKey::account(&attempt.email)])
        .collect();
    let Ok(_attempt) = login.attempts.try_acquire() else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "Too many logins at once");
    };
    // Counted before the check. Otherwise, concurrent attempts could exceed the limit.
    let register = public.hub.register();
    match register.begin_login(&keys).get().await {
        Ok(true) => {}
        Ok(false) => {
            let mut response = error(StatusCode::TOO_MANY_REQUESTS, "Too many attempts");
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(WINDOW_MS / 1_000));
            return response;
        }
        Err(reason) => return failed(&reason.into()),
    }
    let Ok(_permit) = login.hashing.acquire().await else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "Shutting down");
    };
    let checking = Arc::clone(&public);
    let account = tokio::task::spawn_blocking(move || {
        let login = checking.login.as_ref()?;
        login
            .accounts
            .check(&attempt.email, &attempt.password)
            .cloned()
    })
    .await;
    let Ok(Some(account)) = account else {
        return error(StatusCode::UNAUTHORIZED, "Wrong email or password");
    };
    register.forgive_login(&keys).get().await;
    match open_session(&public, login, &account).await {
        Ok(access) => json(StatusCode::OK, &json!({"access": access, "user": account})),
        Err(reason) => failed(&reason),
    }
}

fn failed(reason: &LoginError) -> Response<Full<Bytes>> {
    tracing::error!(%reason, "login failed");
    error(StatusCode::SERVICE_UNAVAILABLE, "Login failed")
}

/// Makes a new session the user's only one, and signs its token.
async fn open_session(
    public: &Public,
    login: &Login,
    account: &Account,
) -> Result<String, LoginError> {
    let session = crate::auth::random_name();
    let id = account.id.to_string();
    // Signed first, so that the other devices stay logged in if signing fails.
    let reloadable = public.reloadable.load_full();
    let token = mint(
        &reloadable.auth,
        &Claims {
            user: &id,
            session: Some(&session),
            topics: &[],
            ttl: login.token_ttl,
            now_unix_ms: public.hub.unix_ms(),
        },
    )?;
    let user = UserId::new(&id)?;
    public.hub.change_session(user, &session, None).await?;
    Ok(token)
}
