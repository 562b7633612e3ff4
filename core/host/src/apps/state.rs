//! What an application owes to whom. No thread, clock or lock in here: the actor and the watchdog bring them.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crtmp_plugin::foreign::{ConnInfo, Failure, Outcome};
use crtmp_plugin::{self as plugin, Hooks, NotTaken};
use slog::{Logger, error, info, warn};

use super::Limits;
use super::mailbox::{Job, Mailbox, SPARE_OF_ONE, What};
use super::open::{Open, OpenRequests};
use super::request::{Answer, Asked, Decision, Effect, Notice, NoticeKind, Request};
use super::taps::Taps;
use super::timers::Timers;

/// How often the log says that events were left out.
const LEFT_OUT_PERIOD: Duration = Duration::from_secs(10);

/// How an application is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Well,
    /// A hook does not return. All is refused until it does.
    Stuck,
    /// It panicked too often. All is refused, for good.
    Disabled,
    /// It finishes what waits for it. New requests are refused.
    Stopping,
    /// It is no more.
    Ended,
}

/// Tickets are unique in the process, so that a late answer of an older instance can never hit a newer request.
static NEXT_TICKET: AtomicU64 = AtomicU64::new(1);

/// What the thread does next.
pub(super) enum Next {
    /// Calls this hook, which must return by this time.
    Call(Job, Instant),
    /// Waits until something comes, or this time.
    Wait(Option<Instant>),
    /// Ends the instance.
    End,
}

pub(super) struct State {
    name: String,
    hooks: Hooks,
    limits: Limits,
    logger: Logger,
    mailbox: Mailbox,
    /// A hook to call before all others.
    urgent: Option<Job>,
    pub(super) timers: Timers,
    /// The hook before was that of a timer: connections have their turn.
    timer_before: bool,
    taps: Taps,
    /// Whom events come from that are of no connection.
    pub(super) nobody: Arc<ConnInfo>,
    /// Connections that it has heard of, and whose end it is owed; looked at where it has a hook for that.
    heard: HashSet<u64>,
    /// Events that were left out since that was said, and when that was.
    left_out: (u64, Option<Instant>),
    open: OpenRequests,
    running: Option<Running>,
    /// When the latest hooks panicked.
    panics: VecDeque<Instant>,
    panics_ever: u64,
    life: Life,
    /// Whether it has been said that it is over.
    told_over: bool,
    stuck: bool,
    /// The thread waits for something to come.
    pub(super) asleep: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Working,
    Disabled,
    Stopping,
    Ended,
}

/// What becomes of an event.
enum Due {
    /// It is told, whatever waits.
    Owed,
    /// It is told where there is room.
    Spare,
    /// It is not told.
    Nothing,
}

/// The hook that runs.
struct Running {
    conn: Arc<ConnInfo>,
    hook: &'static str,
    ticket: Option<u64>,
    since: Instant,
    deadline: Instant,
    /// Its request got its answer from the server, or needs none any more.
    called_off: bool,
}

impl State {
    pub(super) fn new(name: &str, hooks: Hooks, limits: Limits, logger: Logger) -> Self {
        Self {
            name: name.to_owned(),
            hooks,
            limits,
            logger,
            mailbox: Mailbox::new(limits.mailbox),
            urgent: None,
            timers: Timers::default(),
            timer_before: false,
            taps: Taps::new(limits.tap_bytes),
            nobody: Arc::default(),
            heard: HashSet::new(),
            left_out: (0, None),
            open: OpenRequests::default(),
            running: None,
            panics: VecDeque::new(),
            panics_ever: 0,
            life: Life::Working,
            told_over: false,
            stuck: false,
            asleep: false,
        }
    }

    pub(super) fn health(&self) -> Health {
        match self.life {
            Life::Ended => Health::Ended,
            Life::Disabled => Health::Disabled,
            _ if self.stuck => Health::Stuck,
            Life::Stopping => Health::Stopping,
            Life::Working => Health::Well,
        }
    }

    /// Takes a request into the mailbox, or answers it at once.
    pub(super) fn request(&mut self, request: Request) -> Option<Answer> {
        let Request { conn, id, kind } = request;
        let asked = kind.asked();
        let trouble = match self.health() {
            Health::Well if self.mailbox.is_full() && self.hooks.contains(asked.hook()) => "is busy",
            Health::Well => "",
            Health::Stuck => "does not answer",
            Health::Disabled => "is disabled",
            Health::Stopping | Health::Ended => "is stopping",
        };
        if !trouble.is_empty() {
            return Some(Answer { conn: conn.id, id, decision: asked.refusal(self.says(trouble)) });
        }
        if !self.hooks.contains(asked.hook()) {
            return Some(Answer { conn: conn.id, id, decision: asked.undecided() });
        }
        let ticket = NEXT_TICKET.fetch_add(1, Ordering::Relaxed);
        let awaited = kind.is_awaited();
        self.open.add(ticket, Open::new(conn.clone(), id, asked, awaited));
        self.mailbox.push(Job { conn, what: What::Request { ticket, kind } });
        None
    }

    /// Takes an event into the mailbox.
    pub(super) fn notify(&mut self, mut notice: Notice) {
        if matches!(self.life, Life::Disabled | Life::Ended) {
            return;
        }
        let wanted = self.hooks.contains(notice.kind.hook());
        if let NoticeKind::Frame { frame, left_out, .. } = &mut notice.kind
            && wanted
        {
            match self.taps.take(notice.conn.id, frame) {
                Some(count) => *left_out = count,
                None => return,
            }
        }
        if matches!(notice.kind, NoticeKind::Close { .. }) {
            self.call_off(&notice.conn);
            self.taps.forget(notice.conn.id);
        }
        if !wanted {
            return;
        }
        let due = self.due(notice.conn.id, &notice.kind);
        let job = Job { conn: notice.conn, what: What::Notice(notice.kind) };
        match due {
            Due::Owed => self.mailbox.push(job),
            Due::Spare => self.left_out.0 += u64::from(!self.mailbox.push_spare(job)),
            Due::Nothing => {}
        }
    }

    /// Whether an event may be left out. The end of what the application was asked about is owed to it, and there are
    /// no more such ends than it has given answers. Of all else a peer can make as much as it likes, also while the
    /// application does not answer.
    fn due(&self, conn: u64, kind: &NoticeKind) -> Due {
        let owed_to = |hook: Hooks| if self.hooks.contains(hook) { Due::Owed } else { Due::Spare };
        match kind {
            NoticeKind::Metadata { .. } | NoticeKind::Unpublish { .. } => owed_to(Hooks::PUBLISH),
            NoticeKind::Unplay { .. } => owed_to(Hooks::PLAY),
            NoticeKind::Pong(_) => Due::Spare,
            NoticeKind::Close { .. } if self.heard.contains(&conn) || self.mailbox.has_line(conn) => {
                Due::Owed
            }
            // Its connect was refused, or called off, before the hook was called: it was never there.
            NoticeKind::Close { .. } if self.hooks.contains(Hooks::CONNECT) => Due::Nothing,
            NoticeKind::Close { .. } => Due::Spare,
            // Each of these is bounded where it comes from.
            NoticeKind::Frame { .. }
            | NoticeKind::Stream { .. }
            | NoticeKind::Source { .. }
            | NoticeKind::Timer(_)
            | NoticeKind::Result { .. } => Due::Owed,
        }
    }

    /// The connection has left: nobody waits for its answers.
    fn call_off(&mut self, conn: &Arc<ConnInfo>) {
        self.mailbox.drop_requests_of(conn.id);
        while let Some((ticket, open)) = self.open.take_of(conn.id) {
            self.tell_cancelled(ticket, &open);
        }
    }

    /// Tells the application that the answer to a request is not wanted, if it has seen the request.
    fn tell_cancelled(&mut self, ticket: u64, open: &Open) {
        if let Some(running) = &mut self.running
            && running.ticket == Some(ticket)
        {
            running.called_off = true;
        } else if open.is_put_off() && self.hooks.contains(Hooks::CANCEL) {
            self.mailbox.push(Job { conn: open.conn.clone(), what: What::Cancel { ticket } });
        }
    }

    /// The next thing to do; `effects` gets what must be said before.
    pub(super) fn next(&mut self, now: Instant, effects: &mut Vec<Effect>) -> Next {
        loop {
            if matches!(self.life, Life::Disabled | Life::Ended) {
                return Next::End;
            }
            let Some(job) = self.next_job(now) else {
                if self.life != Life::Stopping {
                    return Next::Wait(self.timers.next());
                }
                // All hooks are done. What is put off is refused, and the application told, before it ends.
                if self.open.is_empty() {
                    return Next::End;
                }
                self.refuse_all("is stopping", effects);
                continue;
            };
            if let What::Notice(NoticeKind::Frame { frame, .. }) = &job.what {
                self.taps.taken(frame);
            }
            self.hear(&job);
            self.say_left_out(now);
            let ticket = match job.what {
                What::Request { ticket, .. } => Some(ticket),
                What::Notice(_) | What::Cancel { .. } => None,
            };
            let deadline = now + self.limits.hook_timeout;
            let (conn, hook) = (job.conn.clone(), job.what.hook_name());
            self.running = Some(Running { conn, hook, ticket, since: now, deadline, called_off: false });
            return Next::Call(job, deadline);
        }
    }

    /// Whose end is owed from now on.
    fn hear(&mut self, job: &Job) {
        if matches!(job.what, What::Notice(NoticeKind::Close { .. })) {
            self.heard.remove(&job.conn.id);
        } else if job.conn.id != 0 && self.hooks.contains(Hooks::CLOSE) {
            self.heard.insert(job.conn.id);
        }
    }

    fn say_left_out(&mut self, now: Instant) {
        let (count, said) = self.left_out;
        if count == 0 || said.is_some_and(|said| now < said + LEFT_OUT_PERIOD) {
            return;
        }
        self.left_out = (0, Some(now));
        let (name, most) = (&self.name, self.limits.mailbox);
        warn!(
            self.logger,
            "application `{name}` is too slow: {count} events were left out, of those of which mailbox = {most} may \
             wait, and {SPARE_OF_ONE} of one connection"
        );
    }

    /// Timers and what else waits take turns, so that neither can keep the other out.
    fn next_job(&mut self, now: Instant) -> Option<Job> {
        if self.urgent.is_some() {
            return self.urgent.take();
        }
        let first = if self.timer_before { self.mailbox.pop() } else { None };
        self.timer_before = false;
        first.or_else(|| self.timer_job(now)).or_else(|| self.mailbox.pop())
    }

    /// The hook of a timer that is due. One that stops does nothing new.
    fn timer_job(&mut self, now: Instant) -> Option<Job> {
        if self.life == Life::Stopping {
            self.timers.clear();
        }
        let timer = self.timers.take_due(now)?;
        self.timer_before = true;
        Some(Job { conn: self.nobody.clone(), what: What::Notice(NoticeKind::Timer(timer)) })
    }

    /// The hook has returned.
    pub(super) fn finished(
        &mut self,
        result: Result<Outcome, Failure>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let running = self.running.take().expect("a hook was running");
        if std::mem::take(&mut self.stuck) {
            let seconds = (now - running.since).as_secs_f32();
            info!(
                self.logger,
                "application `{}` answers again: `{}` took {seconds:.1} s", self.name, running.hook
            );
        }
        match result {
            Ok(Outcome::Later) => {
                if let Some(ticket) = running.ticket {
                    self.open.put_off(ticket, now + self.limits.later_timeout);
                }
            }
            Ok(Outcome::Done) => {
                if let Some(open) = running.ticket.and_then(|ticket| self.open.get(ticket)) {
                    // What nobody waits for, the hook may leave unanswered.
                    if open.awaited {
                        error!(
                            self.logger,
                            "application `{}` gave no answer in `{}`", self.name, running.hook
                        );
                    }
                    self.refuse(running.ticket, "failed", effects);
                }
            }
            Err(failure) => {
                error!(self.logger, "application `{}`, `{}`: {failure}", self.name, running.hook);
                self.refuse(running.ticket, "failed", effects);
                if matches!(failure, Failure::Panic(_)) {
                    self.count_panic(now, effects);
                }
            }
        }
        if let Some(ticket) = running.ticket
            && running.called_off
            && self.hooks.contains(Hooks::CANCEL)
        {
            self.urgent = Some(Job { conn: running.conn, what: What::Cancel { ticket } });
        }
    }

    /// Takes an answer from the application. One that does not fit changes nothing: the request stays open.
    pub(super) fn respond(
        &mut self,
        ticket: u64,
        answer: Option<plugin::Answer>,
    ) -> Result<Effect, NotTaken> {
        let open = self.open.get(ticket).ok_or(NotTaken::Gone)?;
        let decision = open.asked.decide(answer).map_err(|fault| {
            error!(self.logger, "application `{}` answered {fault}", self.name);
            NotTaken::Invalid
        })?;
        let open = self.open.take(ticket).expect("just found");
        Ok(effect_of(Answer { conn: open.conn.id, id: open.id, decision }, open.asked))
    }

    /// Looks for time that is up; says when to look again.
    pub(super) fn check(&mut self, now: Instant, effects: &mut Vec<Effect>) -> Option<Instant> {
        if let Some(running) = &self.running
            && !self.stuck
            && running.deadline <= now
        {
            let timeout = self.limits.hook_timeout.as_secs_f32();
            warn!(
                self.logger,
                "application `{}` is stuck: `{}` has not returned for {timeout} s; all it is asked is refused until it \
                 does",
                self.name,
                running.hook
            );
            self.stuck = true;
            self.refuse_all("does not answer", effects);
        }
        while let Some((ticket, open)) = self.open.take_late(now) {
            self.tell_cancelled(ticket, &open);
            effects.push(open.refusal(self.says("did not decide in time")));
        }
        let running = self.running.as_ref().filter(|_| !self.stuck).map(|running| running.deadline);
        self.open.next_late().into_iter().chain(running).min()
    }

    /// Finish what waits, then end.
    pub(super) fn stop(&mut self) {
        if self.life == Life::Working {
            self.life = Life::Stopping;
        }
    }

    /// Nobody waits for the thread any more, or it is over. From now on all that comes from it is late.
    pub(super) fn end(&mut self, effects: &mut Vec<Effect>) {
        if self.life != Life::Disabled {
            self.life = Life::Ended;
        }
        self.refuse_all("is stopping", effects);
        self.mailbox.clear();
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.life, Life::Disabled | Life::Ended)
    }

    /// Whether it is over and nobody has been told yet; true once.
    pub(super) fn has_just_ended(&mut self) -> bool {
        let over = self.is_over();
        over && !std::mem::replace(&mut self.told_over, true)
    }

    pub(super) fn requests(&self) -> usize {
        self.mailbox.requests()
    }

    pub(super) fn panics(&self) -> u64 {
        self.panics_ever
    }

    fn count_panic(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.panics_ever += 1;
        self.panics.push_back(now);
        while self.panics.front().is_some_and(|first| now - *first > self.limits.panic_window) {
            self.panics.pop_front();
        }
        if self.panics.len() < self.limits.panics {
            return;
        }
        let (count, seconds) = (self.panics.len(), self.limits.panic_window.as_secs());
        error!(
            self.logger,
            "application `{}` is disabled: {count} panics within {seconds} s; what it allowed goes on, all else is refused",
            self.name
        );
        self.disable(effects);
    }

    /// Refuses all from now on.
    pub(super) fn disable(&mut self, effects: &mut Vec<Effect>) {
        if matches!(self.life, Life::Working | Life::Disabled) {
            self.life = Life::Disabled;
            self.refuse_all("is disabled", effects);
            self.mailbox.clear();
        }
    }

    fn refuse(&mut self, ticket: Option<u64>, trouble: &str, effects: &mut Vec<Effect>) {
        if let Some(open) = ticket.and_then(|ticket| self.open.take(ticket)) {
            effects.push(open.refusal(self.says(trouble)));
        }
    }

    fn refuse_all(&mut self, trouble: &str, effects: &mut Vec<Effect>) {
        self.mailbox.drop_requests();
        for (ticket, open) in self.open.take_all() {
            self.tell_cancelled(ticket, &open);
            effects.push(open.refusal(self.says(trouble)));
        }
    }

    fn says(&self, trouble: &str) -> String {
        format!("application `{}` {trouble}", self.name)
    }
}

impl Open {
    fn refusal(&self, text: String) -> Effect {
        let decision = self.asked.refusal(text);
        effect_of(Answer { conn: self.conn.id, id: self.id, decision }, self.asked)
    }
}

/// Commands are of no connection: whoever called waits for their answers elsewhere.
fn effect_of(answer: Answer, asked: Asked) -> Effect {
    if asked != Asked::Command {
        return Effect::Answer(answer);
    }
    let result = match answer.decision {
        Decision::Result(value) => Ok(value),
        Decision::Values(true, values) => Ok(values.into()),
        Decision::Values(false, values) => Err(serde_json::Value::from(values).to_string()),
        Decision::Error(value) => {
            let text = value.get("description").and_then(serde_json::Value::as_str);
            Err(text.or(value.as_str()).map_or_else(|| value.to_string(), str::to_owned))
        }
        _ => Err("the application does not know this command".to_owned()),
    };
    Effect::Command(answer.id, result)
}

impl What {
    fn hook_name(&self) -> &'static str {
        match self {
            Self::Request { kind, .. } => match kind.asked() {
                Asked::Connect => "on_connect",
                Asked::Publish => "on_publish",
                Asked::Play => "on_play",
                Asked::Message => "on_message",
                Asked::SharedObject => "on_shared_object",
                Asked::Accept => "on_accept",
                Asked::Command => "on_command",
            },
            Self::Notice(NoticeKind::Pong(_)) => "on_pong",
            Self::Notice(NoticeKind::Frame { .. }) => "on_frame",
            Self::Notice(NoticeKind::Stream { .. }) => "on_stream",
            Self::Notice(NoticeKind::Source { .. }) => "on_source",
            Self::Notice(NoticeKind::Timer(_)) => "on_timer",
            Self::Notice(NoticeKind::Result { .. }) => "on_result",
            Self::Notice(NoticeKind::Metadata { .. }) => "on_metadata",
            Self::Notice(NoticeKind::Unpublish { .. }) => "on_unpublish",
            Self::Notice(NoticeKind::Unplay { .. }) => "on_unplay",
            Self::Notice(NoticeKind::Close { .. }) => "on_close",
            Self::Cancel { .. } => "on_cancel",
        }
    }
}
