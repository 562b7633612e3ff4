//! Between workers and applications: each side speaks its own words, here they are translated.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crtmp_media::RequestId;
use crtmp_reactor::{
    Application as Seen, Caller, Happened, Hooks as SeenHooks, Question, ToApplication, Verdict, Workers,
};
use crtmp_relay::{ConnectionId, DuplicatePublisher};
use serde_json::Value;
use slog::Logger;

use crate::{
    apps::{
        Answer, AppConfig, AppHandle, AppPath, ConnInfo, Decision, Effect, Hooks, Limits, MessageInfo,
        Notice, NoticeKind, PlayInfo, PlayStart, PublishInfo, PublishKind, Request, RequestKind, StartError,
        Watchdog, check_settings,
    },
    config::{self, Application},
    plugins::Library,
    values::{from_json, to_json, to_map},
};

/// An application that runs.
pub(super) struct Running {
    pub(super) handle: Arc<AppHandle>,
    /// As the workers see it; they keep it as long as a connection has it.
    pub(super) seen: Arc<Seen>,
    pub(super) aliases: Vec<String>,
}

impl Running {
    /// Whether a connection still has it. Only for one that the workers are not sent to any more.
    pub(super) fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.seen) > 1
    }
}

/// Starts an application.
pub(super) fn start(
    application: &Application,
    library: &Library,
    watchdog: &Watchdog,
    log: &Logger,
    workers: &Workers,
) -> Result<Running, StartError> {
    let config = app_config(application, library);
    let entry = library.app(&application.name).map_err(|error| StartError::of_library(&config, &error))?;
    let selects = entry.selects();
    let sink_workers = workers.clone();
    let sink = Box::new(move |effect| deliver(effect, &sink_workers));
    let handle = Arc::new(AppHandle::start(&config, entry, watchdog, log, sink)?);
    let bridge = Bridge {
        name: application.name.clone(),
        handle: handle.clone(),
        callers: Mutex::default(),
        workers: workers.clone(),
    };
    let duplicate_publisher = match application.duplicate_publisher {
        config::DuplicatePublisher::Reject => DuplicatePublisher::Reject,
        config::DuplicatePublisher::Replace => DuplicatePublisher::Replace,
        config::DuplicatePublisher::ReplaceIfIdle => DuplicatePublisher::ReplaceIfIdle,
    };
    let seen = Seen {
        name: application.name.as_str().into(),
        hooks: SeenHooks {
            connect: handle.has(Hooks::CONNECT),
            publish: handle.has(Hooks::PUBLISH),
            play: handle.has(Hooks::PLAY),
            metadata: handle.has(Hooks::METADATA),
            message: handle.has(Hooks::MESSAGE),
            unpublish: handle.has(Hooks::UNPUBLISH),
            unplay: handle.has(Hooks::UNPLAY),
            close: handle.has(Hooks::CLOSE),
        },
        is_default: application.default,
        selects,
        duplicate_publisher,
        publisher_return: application.publisher_return.get(),
        play_wait: application.play_wait.get(),
        send_buffer: application.send_buffer,
        post: Box::new(move |message| bridge.post(message)),
    };
    Ok(Running { handle, seen: Arc::new(seen), aliases: application.aliases.clone() })
}

/// Lets an application look at its settings without starting it.
pub(super) fn check(application: &Application, library: &Library, log: &Logger) -> Result<(), StartError> {
    let config = app_config(application, library);
    let entry = library.app(&application.name).map_err(|error| StartError::of_library(&config, &error))?;
    check_settings(&config, entry, log)
}

fn app_config(application: &Application, library: &Library) -> AppConfig {
    AppConfig {
        name: application.name.clone(),
        library: library.path().to_owned(),
        settings: Value::Object(application.settings.clone()).to_string(),
        limits: Limits {
            mailbox: application.mailbox,
            hook_timeout: application.hook_timeout.get(),
            later_timeout: application.later_timeout.get(),
            ..Limits::default()
        },
    }
}

/// What workers hand messages for one application to.
struct Bridge {
    name: String,
    handle: Arc<AppHandle>,
    /// What each connection's peer said, in the words of applications; made once, gone with the connection.
    callers: Mutex<HashMap<u64, Arc<ConnInfo>>>,
    workers: Workers,
}

impl Bridge {
    fn post(&self, message: ToApplication) {
        match message {
            ToApplication::Question { caller, request, question } => {
                let conn = self.caller(&caller);
                let request = Request { conn, id: u64::from(request.0), kind: kind_of(question) };
                if let Some(answer) = self.handle.request(request) {
                    deliver(Effect::Answer(answer), &self.workers);
                }
            }
            ToApplication::Notice { caller, event } => {
                let conn = self.caller(&caller);
                let kind = match event {
                    Happened::Metadata { slot, name, values } => {
                        NoticeKind::Metadata { stream_id: slot.0, name, values: to_map(&values) }
                    }
                    Happened::Unpublish { slot, name } => NoticeKind::Unpublish { stream_id: slot.0, name },
                    Happened::Unplay { slot, name } => NoticeKind::Unplay { stream_id: slot.0, name },
                    Happened::Closed { .. } => {
                        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
                        callers.remove(&caller.connection.0);
                        NoticeKind::Close
                    }
                };
                self.handle.notify(Notice { conn, kind });
            }
        }
    }

    fn caller(&self, caller: &Caller) -> Arc<ConnInfo> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        callers.entry(caller.connection.0).or_insert_with(|| Arc::new(self.conn_info(caller))).clone()
    }

    fn conn_info(&self, caller: &Caller) -> ConnInfo {
        let info = &caller.info;
        let path = AppPath::split(&info.app);
        let known = ["app", "tcUrl", "swfUrl", "pageUrl", "flashVer"];
        let unknown = info.members.iter().filter(|(key, _)| !known.contains(&key.as_str()));
        let extra = unknown.map(|(key, value)| (key.clone(), to_json(value))).collect();
        ConnInfo {
            id: caller.connection.0,
            application: self.name.clone(),
            peer: caller.peer.to_string(),
            local: caller.local.to_string(),
            app: info.app.clone(),
            instance: path.instance.to_owned(),
            query: path.query.to_owned(),
            tc_url: info.tc_url.clone(),
            swf_url: info.swf_url.clone(),
            page_url: info.page_url.clone(),
            flash_ver: info.agent.clone(),
            extra,
        }
    }
}

fn kind_of(question: Question) -> RequestKind {
    match question {
        Question::Connect => RequestKind::Connect,
        Question::Publish { slot, name, query, kind } => {
            let kind = match kind {
                crtmp_media::PublishKind::Live => PublishKind::Live,
                crtmp_media::PublishKind::Record => PublishKind::Record,
                crtmp_media::PublishKind::Append => PublishKind::Append,
            };
            RequestKind::Publish(PublishInfo { stream_id: slot.0, name, query, kind })
        }
        Question::Play { slot, name, query, start_ms, duration_ms } => {
            let start = match u64::try_from(start_ms) {
                Ok(ms) => PlayStart::At(Duration::from_millis(ms)),
                Err(_) if start_ms == -1000 => PlayStart::Live,
                Err(_) => PlayStart::Any,
            };
            let duration = u64::try_from(duration_ms).ok().map(Duration::from_millis);
            RequestKind::Play(PlayInfo { stream_id: slot.0, name, query, start, duration, reset: true })
        }
        Question::Message { slot, command, args, wants_answer } => RequestKind::Message(MessageInfo {
            stream_id: slot.0,
            name: command,
            args: args.iter().map(to_json).collect(),
            wants_reply: wants_answer,
        }),
    }
}

/// Hands to the workers what an application wants done.
fn deliver(effect: Effect, workers: &Workers) {
    match effect {
        Effect::Answer(Answer { conn, id, decision }) => {
            let request = RequestId(u32::try_from(id).unwrap_or(u32::MAX));
            workers.answer(ConnectionId(conn), request, verdict(decision));
        }
        Effect::Close { conn, code, text } => workers.close(ConnectionId(conn), code, text),
    }
}

fn verdict(decision: Decision) -> Verdict {
    match decision {
        Decision::Accept => Verdict::Accept,
        Decision::AcceptAs(name) => Verdict::AcceptAs(name),
        Decision::HandTo(application) => Verdict::HandTo(application),
        Decision::Reject { code, text } => Verdict::Reject { code, text },
        Decision::Redirect(url) => Verdict::Redirect(url),
        Decision::Result(value) => Verdict::Result(from_json(&value)),
        Decision::Error(value) => {
            let member = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
            let text = member("description").or_else(|| value.as_str().map(str::to_owned));
            let code = member("code").unwrap_or_default();
            Verdict::Reject { code, text: text.unwrap_or_else(|| value.to_string()) }
        }
        Decision::Unknown => {
            let text = "the application does not know this command".to_owned();
            Verdict::Reject { code: String::new(), text }
        }
    }
}
