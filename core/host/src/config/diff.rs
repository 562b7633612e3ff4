//! What a reload has to do: the difference of two configurations, as plain data.

use serde::Serialize;

use super::{Acceptor, Appender, Application, Configuration, EventLogger};

/// An acceptor and the application that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationAcceptor {
    /// The name of the application.
    pub application: String,
    /// The acceptor.
    pub acceptor: Acceptor,
}

/// A change that a running server cannot make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartChange {
    /// The place in the table, `configuration.…`.
    pub path: String,
    /// The value in force, as JSON.
    pub old: String,
    /// The value that the new configuration asks for, as JSON.
    pub new: String,
}

/// The difference of two configurations.
///
/// Apply `removed_acceptors` before `added_acceptors`: one address may be in both, with another chain or
/// application. Nothing that is not named here may be touched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diff {
    /// Acceptors to close. Their connections stay.
    pub removed_acceptors: Vec<ApplicationAcceptor>,
    /// Acceptors to open.
    pub added_acceptors: Vec<ApplicationAcceptor>,
    /// Names of applications to end.
    pub removed_applications: Vec<String>,
    /// Applications to start.
    pub added_applications: Vec<Application>,
    /// Applications of which something but the acceptors changed, as they should be.
    pub changed_applications: Vec<Application>,
    /// Names of applications of which nothing changed but how their streams are handed to players: that changes
    /// while they run.
    pub retuned_applications: Vec<String>,
    /// All log appenders as they should be, if any changed.
    pub log_appenders: Option<Vec<Appender>>,
    /// The event logger as it should be, if anything of it changed.
    pub event_logger: Option<EventLogger>,
    /// Whether anything changed of what processes may be launched.
    pub processes: bool,
    /// Whether anything changed of where the server may connect to.
    pub outbound_policy: bool,
    /// Whether anything changed of which streams are pulled (`externalStreams`).
    pub links: bool,
    /// Whether libraries or chains changed by their lists, `plugins` and `chains`: acceptors may mean other layers.
    pub chains: bool,
    /// The new value of `shutdownTimeout`, if it changed.
    pub shutdown_timeout: Option<crtmp_media::Seconds>,
    /// Whether anything changed of whom the end of the server asks to connect elsewhere (`drainTimeout`, `drainUrl`).
    pub drain: bool,
    /// Changes that wait for a restart.
    pub restart: Vec<RestartChange>,
}

impl Diff {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What has to be done to get from the configuration in force to the new one.
pub fn diff(old: &Configuration, new: &Configuration) -> Diff {
    let (removed_acceptors, added_acceptors) = acceptors(old, new);
    let mut diff = Diff { removed_acceptors, added_acceptors, ..Diff::default() };

    let find = |configuration: &Configuration, name: &str| {
        configuration.applications.list.iter().find(|application| application.name == name).cloned()
    };
    for application in &old.applications.list {
        if find(new, &application.name).is_none() {
            diff.links |= !application.external_streams.is_empty();
            diff.removed_applications.push(application.name.clone());
        }
    }
    let plugins = old.plugins != new.plugins;
    diff.chains = plugins || old.chains != new.chains;
    let moved = old.applications.root_directory != new.applications.root_directory;
    for application in &new.applications.list {
        match find(old, &application.name) {
            None => {
                diff.links |= !application.external_streams.is_empty();
                diff.added_applications.push(application.clone());
            }
            Some(before) => {
                // None of them concerns an instance that runs.
                let (acceptors, load_from) = (application.acceptors.clone(), application.load_from.clone());
                let external_streams = application.external_streams.clone();
                diff.links |= before.external_streams != external_streams;
                let before = Application { acceptors, load_from, external_streams, ..before };
                let elsewhere = moved && application.library.is_none() && application.app_dir.is_none();
                // A filter is the instance's own, and its library may be another one now.
                let refiltered = plugins && !application.filters.is_empty();
                if before.clone().with_delivery_of(application) != *application || elsewhere || refiltered {
                    diff.changed_applications.push(application.clone());
                } else if before != *application {
                    diff.retuned_applications.push(application.name.clone());
                }
            }
        }
    }

    if old.log_appenders != new.log_appenders {
        diff.log_appenders = Some(new.log_appenders.clone());
    }
    if old.event_logger != new.event_logger {
        diff.event_logger = Some(new.event_logger.clone());
    }
    diff.processes = old.processes != new.processes;
    diff.outbound_policy = old.outbound_policy != new.outbound_policy;
    if old.shutdown_timeout != new.shutdown_timeout {
        diff.shutdown_timeout = Some(new.shutdown_timeout);
    }
    diff.drain = (old.drain_timeout, &old.drain_url) != (new.drain_timeout, &new.drain_url);
    restart(&mut diff, "daemon", &old.daemon, &new.daemon);
    restart(&mut diff, "workers", &old.workers, &new.workers);
    restart(&mut diff, "countersFile", &old.counters_file, &new.counters_file);
    restart(&mut diff, "stateFile", &old.state_file, &new.state_file);
    limits(&mut diff, old, new);
    diff
}

/// The acceptors that are only in the old and only in the new configuration. Equal ones (several with port 0)
/// are paired one by one.
fn acceptors(
    old: &Configuration,
    new: &Configuration,
) -> (Vec<ApplicationAcceptor>, Vec<ApplicationAcceptor>) {
    let mut removed = all_acceptors(old);
    let mut added = all_acceptors(new);
    added.retain(|acceptor| match removed.iter().position(|other| other == acceptor) {
        Some(index) => {
            removed.remove(index);
            false
        }
        None => true,
    });
    (removed, added)
}

/// The acceptors of all applications, in the order of the configuration.
pub fn all_acceptors(configuration: &Configuration) -> Vec<ApplicationAcceptor> {
    let of = |application: &Application| {
        let name = application.name.clone();
        let acceptors = application.acceptors.clone().into_iter();
        acceptors.map(move |acceptor| ApplicationAcceptor { application: name.clone(), acceptor })
    };
    configuration.applications.list.iter().flat_map(of).collect()
}

fn restart<T: PartialEq + Serialize>(diff: &mut Diff, path: &str, old: &T, new: &T) {
    if old != new {
        let text = |value| serde_json::to_string(value).unwrap_or_else(|error| error.to_string());
        let path = format!("configuration.{path}");
        diff.restart.push(RestartChange { path, old: text(old), new: text(new) });
    }
}

fn limits(diff: &mut Diff, old: &Configuration, new: &Configuration) {
    let table =
        |configuration: &Configuration| serde_json::to_value(&configuration.limits).unwrap_or_default();
    let (old, new) = (table(old), table(new));
    for key in old.as_object().into_iter().flat_map(serde_json::Map::keys) {
        restart(diff, &format!("limits.{key}"), &old[key], &new[key]);
    }
}

#[cfg(test)]
mod tests {
    use crtmp_media::Seconds;
    use serde_json::Map;

    use super::*;
    use crate::config::{AppenderKind, MergeWrite};

    fn acceptor(port: u16, protocol: &str) -> Acceptor {
        Acceptor { ip: [127, 0, 0, 1].into(), port, protocol: protocol.into(), keys: Map::new() }
    }

    fn application(name: &str, acceptors: &[Acceptor]) -> Application {
        Application { name: name.into(), acceptors: acceptors.to_vec(), ..Application::default() }
    }

    fn configuration(list: Vec<Application>) -> Configuration {
        let mut configuration = Configuration::default();
        configuration.applications.list = list;
        configuration
    }

    fn ports(acceptors: &[ApplicationAcceptor]) -> Vec<(&str, u16)> {
        acceptors.iter().map(|one| (one.application.as_str(), one.acceptor.port)).collect()
    }

    #[test]
    fn the_same_configuration_asks_for_nothing() {
        let one =
            configuration(vec![application("a", &[acceptor(0, "x"), acceptor(0, "x"), acceptor(1, "x")])]);
        assert!(diff(&one, &one.clone()).is_empty());
    }

    #[test]
    fn acceptors_are_told_apart_by_address_chain_and_application() {
        let old = configuration(vec![
            application("a", &[acceptor(1, "x"), acceptor(2, "x"), acceptor(0, "x"), acceptor(0, "x")]),
            application("b", &[]),
        ]);
        let new = configuration(vec![
            application("a", &[acceptor(1, "y"), acceptor(0, "x")]),
            application("b", &[acceptor(2, "x"), acceptor(3, "x")]),
        ]);
        let diff = diff(&old, &new);
        assert_eq!(ports(&diff.removed_acceptors), [("a", 1), ("a", 2), ("a", 0)]);
        assert_eq!(ports(&diff.added_acceptors), [("a", 1), ("b", 2), ("b", 3)]);
        assert!(diff.changed_applications.is_empty());
        assert!(diff.restart.is_empty());
    }

    #[test]
    fn applications_are_told_apart_by_name() {
        let old = configuration(vec![
            application("stays", &[]),
            application("goes", &[]),
            application("turns", &[]),
        ]);
        let mut turned = application("turns", &[acceptor(1, "x")]);
        turned.aliases.push("other".into());
        let new = configuration(vec![turned.clone(), application("comes", &[]), application("stays", &[])]);
        let diff = diff(&old, &new);
        assert_eq!(diff.removed_applications, ["goes"]);
        assert_eq!(diff.added_applications, [application("comes", &[])]);
        assert_eq!(diff.changed_applications, [turned]);
        assert_eq!(ports(&diff.added_acceptors), [("turns", 1)]);
    }

    #[test]
    fn how_streams_are_handed_on_changes_without_a_new_instance() {
        let old = configuration(vec![application("a", &[])]);
        let mut new = old.clone();
        new.applications.list[0].merge_write = MergeWrite::Fixed(100);
        new.applications.list[0].max_lag = Seconds::new(3);
        let retuned = diff(&old, &new);
        assert_eq!(retuned.retuned_applications, ["a"]);
        assert!(retuned.changed_applications.is_empty());
        new.applications.list[0].play_wait = Seconds::new(3);
        let changed = diff(&old, &new);
        assert!(changed.retuned_applications.is_empty());
        assert_eq!(changed.changed_applications, new.applications.list);
    }

    #[test]
    fn other_libraries_change_chains_and_the_applications_that_have_filters() {
        let filtered = Application { filters: vec!["f".into()], ..application("filtered", &[]) };
        let old = configuration(vec![application("a", &[]), filtered.clone()]);
        let mut new = old.clone();
        new.chains.insert("mine".into(), vec!["rtmp".into()]);
        let chains = diff(&old, &new);
        assert!(chains.chains && chains.changed_applications.is_empty());
        assert!(diff(&new, &old).chains && !diff(&new, &new.clone()).chains);
        let mut new = old.clone();
        new.plugins.push("libf.so".into());
        let plugins = diff(&old, &new);
        assert!(plugins.chains);
        assert_eq!(plugins.changed_applications, [filtered]);
    }

    #[test]
    fn streams_to_pull_start_no_instance() {
        let stream = |uri: &str| Map::from_iter([("uri".to_owned(), uri.into())]);
        let with = |uri: &str| Application { external_streams: vec![stream(uri)], ..application("a", &[]) };
        let (old, new) = (configuration(vec![with("x")]), configuration(vec![with("y")]));
        assert_eq!(diff(&old, &new), Diff { links: true, ..Diff::default() });
        assert!(!diff(&old, &old.clone()).links);
        let none = configuration(vec![]);
        assert!(diff(&old, &none).links && diff(&none, &old).links);
        let without = configuration(vec![application("a", &[])]);
        assert!(!diff(&without, &none).links && diff(&without, &old).links);
    }

    #[test]
    fn a_new_root_changes_the_applications_that_are_found_by_it() {
        let own = Application { library: Some("x.so".into()), ..application("own", &[]) };
        let old = configuration(vec![application("a", &[]), own]);
        let mut new = old.clone();
        new.applications.root_directory = "elsewhere".into();
        assert_eq!(diff(&old, &new).changed_applications, [application("a", &[])]);
    }

    #[test]
    fn the_top_is_applied_or_waits_for_a_restart() {
        let old = Configuration::default();
        let mut new = Configuration { workers: Some(3), daemon: true, ..Configuration::default() };
        new.limits.gop_messages = 99;
        new.shutdown_timeout = Seconds::new(1);
        new.drain_url = Some("rtmp://other/live".into());
        new.path_separator = Some("/".into());
        new.log_appenders = vec![Appender::new(AppenderKind::Console)];
        new.event_logger.custom_data = Some("x".into());
        new.processes.max_processes = 3;
        new.outbound_policy.deny.clear();
        let diff = diff(&old, &new);
        assert_eq!(diff.shutdown_timeout, Some(Seconds::new(1)));
        assert_eq!(diff.log_appenders, Some(new.log_appenders));
        assert_eq!(diff.event_logger, Some(new.event_logger));
        assert!(diff.processes && diff.outbound_policy && diff.drain);
        let restart: Vec<_> =
            diff.restart.iter().map(|change| (change.path.as_str(), change.new.as_str())).collect();
        assert_eq!(
            restart,
            [
                ("configuration.daemon", "true"),
                ("configuration.workers", "3"),
                ("configuration.limits.gopMessages", "99")
            ]
        );
    }
}
