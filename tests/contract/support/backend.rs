//! The backend that the server asks about tokens and sessions. It answers as the test last set, and
//! records the requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::eventually;
use super::http::{HttpServer, Reply, Request};

/// See the module's text.
pub struct Backend {
    http: HttpServer,
    shared: Arc<Shared>,
}

type Answering = Box<dyn Fn(&Question) -> Reply + Send + Sync>;

struct Shared {
    reply: Mutex<Reply>,
    /// Chooses the reply where there is one.
    answering: Option<Answering>,
    /// The paths of the questions, and the other lines of their heads.
    asked: Mutex<Vec<Question>>,
    /// Questions wait for their answer.
    is_holding: Mutex<bool>,
    released: Condvar,
    /// That wait now, and at most ever.
    waiting: Mutex<(usize, usize)>,
}

/// A question as it came.
#[derive(Clone, Debug)]
pub struct Question {
    pub request_line: String,
    /// Names in lower case.
    pub fields: BTreeMap<String, Vec<String>>,
}

impl Backend {
    pub fn start(reply: Reply) -> Self {
        Self::with(Shared::new(reply))
    }

    /// Answers each question as it asks for.
    pub fn answering(answer: impl Fn(&Question) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(Shared {
            answering: Some(Box::new(answer)),
            ..Shared::new(Reply::Nothing)
        })
    }

    fn with(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        let answering = Arc::clone(&shared);
        let http = HttpServer::start(move |request| answering.answer(request));
        Self { http, shared }
    }

    pub fn start_tls(config: rustls::ServerConfig, reply: Reply) -> Self {
        let shared = Arc::new(Shared::new(reply));
        let answering = Arc::clone(&shared);
        let http = HttpServer::start_tls(config, move |request| answering.answer(request));
        Self { http, shared }
    }

    /// Where it is asked.
    pub fn url(&self) -> String {
        self.http.url("/asked?by=test")
    }

    /// Answers so from now on.
    pub fn reply(&self, reply: Reply) {
        *self.shared.reply.lock() = reply;
    }

    /// Lets questions wait from now on.
    pub fn hold(&self) {
        *self.shared.is_holding.lock() = true;
    }

    /// Answers those that wait, and the next ones at once.
    pub fn release(&self) {
        *self.shared.is_holding.lock() = false;
        self.shared.released.notify_all();
    }

    /// How many questions have come.
    pub fn asked(&self) -> usize {
        self.shared.asked.lock().len()
    }

    pub fn questions(&self) -> Vec<Question> {
        self.shared.asked.lock().clone()
    }

    /// How many questions were held at once, at most.
    pub fn most_waiting(&self) -> usize {
        self.shared.waiting.lock().1
    }

    pub fn wait_until_asked(&self, times: usize) {
        eventually(&format!("asked {times} times"), || self.asked() >= times);
    }
}

impl Shared {
    fn new(reply: Reply) -> Self {
        Self {
            reply: Mutex::new(reply),
            answering: None,
            asked: Mutex::default(),
            is_holding: Mutex::default(),
            released: Condvar::new(),
            waiting: Mutex::default(),
        }
    }

    fn answer(&self, request: &Request) -> Reply {
        let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in request.fields() {
            let values = fields.entry(name.to_lowercase()).or_default();
            values.push(value.to_owned());
        }
        let request_line = request.head.lines().next().unwrap().to_owned();
        {
            let mut waiting = self.waiting.lock();
            waiting.0 += 1;
            waiting.1 = waiting.1.max(waiting.0);
        }
        let question = Question {
            request_line,
            fields,
        };
        self.asked.lock().push(question.clone());
        let mut is_holding = self.is_holding.lock();
        self.released
            .wait_while(&mut is_holding, |is_holding| *is_holding);
        drop(is_holding);
        self.waiting.lock().0 -= 1;
        match &self.answering {
            Some(answer) => answer(&question),
            None => self.reply.lock().clone(),
        }
    }
}
