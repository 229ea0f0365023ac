//! Publishes over several keep-alive connections, without waiting for one answer before the next event is sent.
//!
//! Each connection is a *lane*: a request is sent after the one before it was answered. A user's events take the same
//! lane, so they keep their order. An event that is due while its lane is busy waits there, and that time counts: answers
//! are timed from the event's scheduled time.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::admin::{self, request_text};
use super::answer::{Answer, leaves_open};
use super::requests::{Event, Requests};
use super::{Audience, Numbered, event_text};
use crate::clock::{self, Deadline};
use crate::engine::Target;

/// Answers are recorded up to a minute; longer ones count as a minute.
const MAX_ANSWER_NS: u64 = 60_000_000_000;
/// Longest wait for any answer after the last event.
const LAST_WAIT: Duration = Duration::from_secs(10);
/// Longest sleep: progress is shown meanwhile.
const MAX_SLEEP_NS: u64 = 100_000_000;

/// The publisher.
#[derive(Debug)]
pub(crate) struct OpenLoop<'a> {
    lanes: Vec<Lane>,
    requests: &'a Requests,
    /// Whose users the events are for.
    target: &'a Target,
    payload_bytes: usize,
    grouping: Grouping,
    answers: Answers,
}

/// How events are grouped into requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grouping {
    /// The most events in one request.
    pub(crate) batch: usize,
    /// Time for which an event waits for others, unless there are enough.
    pub(crate) linger: Duration,
}

/// The answers to what was published.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    /// Events that the server has accepted.
    pub(crate) accepted: u64,
    /// From an event's scheduled time to its answer.
    pub(crate) from_schedule_ns: Histogram<u64>,
    /// From a request to its answer.
    pub(crate) from_request_ns: Histogram<u64>,
    /// The longest time by which the publisher itself was late with an event.
    pub(crate) late_ns: u64,
    /// When the last answer came.
    pub(crate) last_ns: u64,
    /// Events without an answer that accepts them, by reason.
    pub(crate) failures: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Lane {
    address: SocketAddr,
    stream: Option<TcpStream>,
    /// Events that wait for their turn.
    waiting: VecDeque<Numbered>,
    /// The request under way.
    request: Option<InFlight>,
}

#[derive(Debug)]
struct InFlight {
    bytes: Vec<u8>,
    sent: usize,
    asked_ns: u64,
    /// The scheduled times of its events.
    scheduled_ns: Vec<u64>,
    accepted_by: Vec<u16>,
    answer: Answer,
}

impl<'a> OpenLoop<'a> {
    /// A publisher with `lanes` connections, which are spread over the admin listeners.
    pub(super) fn connect(
        admins: &[SocketAddr],
        lanes: usize,
        requests: &'a Requests,
        (target, payload_bytes): (&'a Target, usize),
        grouping: Grouping,
    ) -> Result<Self> {
        let lanes = admins.iter().cycle().take(lanes).map(|&address| {
            Ok(Lane {
                address,
                stream: Some(connect(address)?),
                waiting: VecDeque::new(),
                request: None,
            })
        });
        Ok(Self {
            lanes: lanes.collect::<Result<_>>()?,
            requests,
            target,
            payload_bytes,
            grouping,
            answers: Answers::default(),
        })
    }

    /// Takes an event that is due. It is sent when its lane is free.
    pub(crate) fn push(&mut self, event: Numbered) {
        let late_ns = clock::now_ns().saturating_sub(event.scheduled_ns);
        self.answers.late_ns = self.answers.late_ns.max(late_ns);
        let place = match event.to {
            Audience::All => 0,
            Audience::User(user) | Audience::Nobody(user) => user as usize,
        };
        let lane = place % self.lanes.len();
        self.lanes[lane].waiting.push_back(event);
    }

    /// Sends what was taken and reads answers until it is `at_ns`; at least what can be done at once.
    pub(crate) fn run_until(&mut self, at_ns: u64) -> Result<()> {
        loop {
            self.send()?;
            let now_ns = clock::now_ns();
            let lanes = self.lanes.iter();
            let next_ns = lanes.filter_map(|lane| lane.next_ns(self.grouping)).min();
            let wake_ns = next_ns.map_or(at_ns, |next_ns| next_ns.min(at_ns));
            self.wait(wake_ns.saturating_sub(now_ns).min(MAX_SLEEP_NS))?;
            if clock::now_ns() >= at_ns {
                return self.send();
            }
        }
    }

    /// Waits for the answers to everything, and returns all.
    pub(crate) fn finish(mut self) -> Result<Answers> {
        let mut limit = Deadline::after(LAST_WAIT);
        let mut before = self.unanswered();
        while before > 0 && !limit.passed() {
            self.run_until(clock::now_ns() + 1_000_000)?;
            let now = self.unanswered();
            if now < before {
                limit = Deadline::after(LAST_WAIT);
            }
            before = now;
        }
        if before > 0 {
            self.answers.failed("no answer", before);
        }
        Ok(self.answers)
    }

    fn unanswered(&self) -> usize {
        let of = |lane: &Lane| {
            let asked = lane.request.as_ref();
            lane.waiting.len() + asked.map_or(0, |request| request.scheduled_ns.len())
        };
        self.lanes.iter().map(of).sum()
    }

    /// Sends the next request of each lane that is free.
    fn send(&mut self) -> Result<()> {
        let now_ns = clock::now_ns();
        for lane in &mut self.lanes {
            while lane
                .next_ns(self.grouping)
                .is_some_and(|at_ns| at_ns <= now_ns)
            {
                let count = lane.waiting.len().min(self.grouping.batch);
                let events: Vec<Numbered> = lane.waiting.drain(..count).collect();
                let texts = events
                    .iter()
                    .map(|event| event_text(self.target, event, self.payload_bytes));
                let texts = texts.collect::<Result<Vec<Event>>>()?;
                let request = self.requests.of(&texts)?;
                let bytes = request_text(
                    lane.address,
                    request.method,
                    &request.path,
                    &request.headers,
                    Some(&request.body),
                );
                lane.request = Some(InFlight {
                    bytes: bytes.into_bytes(),
                    sent: 0,
                    asked_ns: clock::now_ns(),
                    scheduled_ns: events.iter().map(|event| event.scheduled_ns).collect(),
                    accepted_by: request.status.to_vec(),
                    answer: Answer::default(),
                });
                if let Err(error) = lane.write() {
                    lane.give_up(&error, &mut self.answers);
                }
            }
        }
        Ok(())
    }

    /// Waits up to this long until a connection is ready, and continues those that are.
    fn wait(&mut self, most_ns: u64) -> Result<()> {
        let mut polled = Vec::with_capacity(self.lanes.len());
        let mut fds = Vec::with_capacity(self.lanes.len());
        for (index, lane) in self.lanes.iter().enumerate() {
            if let Some(stream) = &lane.stream {
                polled.push(index);
                fds.push(PollFd::new(stream, lane.interest()));
            }
        }
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::try_from(most_ns)?,
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => bail!("poll: {error}"),
        }
        let ready: Vec<usize> = polled
            .into_iter()
            .zip(&fds)
            .filter_map(|(index, fd)| (!fd.revents().is_empty()).then_some(index))
            .collect();
        drop(fds);
        for index in ready {
            let lane = &mut self.lanes[index];
            if let Err(error) = lane.advance(&mut self.answers) {
                lane.give_up(&error, &mut self.answers);
            }
        }
        Ok(())
    }
}

impl Lane {
    /// When the next request is sent; `None` if there is nothing to send, or a request is under way.
    fn next_ns(&self, grouping: Grouping) -> Option<u64> {
        let first = self.waiting.front().filter(|_| self.request.is_none())?;
        let is_full = self.waiting.len() >= grouping.batch;
        let linger_ns = clock::duration_ns(grouping.linger);
        Some(first.scheduled_ns + if is_full { 0 } else { linger_ns })
    }

    fn interest(&self) -> PollFlags {
        let is_unsent = |request: &InFlight| request.sent < request.bytes.len();
        if self.request.as_ref().is_some_and(is_unsent) {
            PollFlags::IN | PollFlags::OUT
        } else {
            PollFlags::IN
        }
    }

    /// Sends what the socket takes of the request.
    fn write(&mut self) -> Result<()> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            closed => closed.insert(connect(self.address)?),
        };
        let Some(request) = &mut self.request else {
            return Ok(());
        };
        while request.sent < request.bytes.len() {
            match stream.write(&request.bytes[request.sent..]) {
                Ok(sent) => request.sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("publishing"),
            }
        }
        Ok(())
    }

    /// Continues to send, and reads the answer as far as it has come.
    fn advance(&mut self, answers: &mut Answers) -> Result<()> {
        self.write()?;
        let mut buffer = [0; 8192];
        loop {
            let Some(stream) = &mut self.stream else {
                return Ok(());
            };
            let received = match stream.read(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("publishing"),
            };
            let Some(request) = &mut self.request else {
                // It was closed between two requests; the next one opens another.
                self.stream = None;
                return Ok(());
            };
            if let Some((head, body)) = request.answer.feed(&buffer[..received])? {
                if !leaves_open(&head) {
                    self.stream = None;
                }
                if let Some(request) = self.request.take() {
                    answers.note(&request, head.status, &body);
                }
                return Ok(());
            }
        }
    }

    /// Ends the request under way, and the connection with it.
    fn give_up(&mut self, error: &anyhow::Error, answers: &mut Answers) {
        self.stream = None;
        if let Some(request) = self.request.take() {
            answers.failed(&format!("{error:#}"), request.scheduled_ns.len());
        }
    }
}

impl Default for Answers {
    fn default() -> Self {
        let empty = Histogram::new_with_bounds(1_000, MAX_ANSWER_NS, 3);
        let empty = empty.expect("the bounds are constants");
        Self {
            accepted: 0,
            from_schedule_ns: empty.clone(),
            from_request_ns: empty,
            late_ns: 0,
            last_ns: 0,
            failures: BTreeMap::new(),
        }
    }
}

impl Answers {
    fn note(&mut self, request: &InFlight, status: u16, body: &str) {
        let now_ns = clock::now_ns();
        self.last_ns = now_ns;
        self.from_request_ns
            .saturating_record(now_ns - request.asked_ns);
        for &scheduled_ns in &request.scheduled_ns {
            self.from_schedule_ns
                .saturating_record(now_ns.saturating_sub(scheduled_ns));
        }
        let events = request.scheduled_ns.len();
        if !request.accepted_by.contains(&status) {
            self.failed(&format!("{status} {}", body.trim_end()), events);
        } else if let Some(refused) = refused_lines(body) {
            self.accepted += (events - refused.min(events)) as u64;
            self.failed("a line of a batch was refused", refused);
        } else {
            self.accepted += events as u64;
        }
    }

    fn failed(&mut self, reason: &str, events: usize) {
        let reason = format!("publish: {reason}");
        *self.failures.entry(reason).or_default() += events as u64;
    }
}

/// The number of lines that the answer to a batch lists as refused; `None` if there are none.
fn refused_lines(body: &str) -> Option<usize> {
    let answer: serde_json::Value = serde_json::from_str(body).ok()?;
    let errors = answer.get("errors")?.as_array()?;
    (!errors.is_empty()).then_some(errors.len())
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = admin::connect(address)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
