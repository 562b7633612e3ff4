//! Commands that are found, checked, run and answered.

use std::sync::{Arc, Mutex, mpsc};

use crtmp_plugin::{NotTaken, abi};

use super::*;
use crate::outbound::Outbound;

fn specs() -> Vec<Spec> {
    vec![
        Spec::new(
            "listThings",
            Access::Read,
            &[Param::optional("all", Kind::Flag, "true", "all of them")],
            "Lists.",
        ),
        Spec::new(
            "setThing",
            Access::Change,
            &[
                Param::required("id", Kind::Whole, "which"),
                Param::optional("factor", Kind::Number, "1.5", "how much"),
                Param::optional("names", Kind::List, "[]", "of what"),
                Param::optional("delta", Kind::Signed, "-600", "from where"),
                Param::optional("note", Kind::Text, "null", "why"),
                Param::optional("extra", Kind::Json, "null", "more"),
            ],
            "Sets.",
        ),
        Spec::new("explode", Access::Secret, &[], "Ends it all."),
        Spec::new("vary", Access::Read, &[Param::optional("id", Kind::Whole, "0", "which")], "Varies.")
            .with_variables("what is varied"),
    ]
}

/// A control whose server answers with the parameters.
fn control() -> Control {
    let web = Client::start(&crtmp_media::Limits::default(), Outbound::default()).unwrap();
    Control::new(
        specs(),
        web,
        Box::new(|_, _| {}),
        Box::new(|job| (job.reply)(success("", Value::Object(job.params.map().clone())))),
    )
}

fn run_as(control: &Control, rights: Rights, name: &str, params: Value) -> Value {
    let (sender, replies) = mpsc::channel();
    let Value::Object(params) = params else { panic!("parameters are an object") };
    let caller = Caller { name: "test".to_owned(), instance: 0, session: None, rights };
    let reply = Box::new(move |reply| sender.send(reply).unwrap());
    control.run(Call { name: name.to_owned(), params, caller, reply });
    replies.try_recv().expect("the reply is there")
}

fn run(name: &str, params: Value) -> Value {
    run_as(&control(), Rights::All, name, params)
}

#[test]
fn names_of_commands_and_parameters_have_no_case_and_texts_become_what_they_should() {
    let reply =
        run("SETTHING", json!({ "ID": "18446744073709551615", "Names": "a", "delta": "-5", "note": 7 }));
    assert_eq!(reply["status"], "SUCCESS");
    assert_eq!(
        reply["data"],
        json!({ "id": u64::MAX, "factor": 1.5, "names": ["a"], "delta": -5, "note": "7", "extra": null })
    );
    for (given, flag) in [(json!(1), true), (json!("0"), false), (json!("true"), true), (json!(false), false)]
    {
        assert_eq!(run("listThings", json!({ "all": given }))["data"]["all"], flag);
    }
}

#[test]
fn every_mistake_is_named_with_a_remedy() {
    let long = "x".repeat(70_000);
    let cases = [
        ("listThing", json!({}), "there is no command \"listThing\"; did you mean `listThings`?"),
        ("nonsense", json!({}), "there is no command \"nonsense\"; `help` lists all"),
        ("setThing", json!({}), "`setThing` needs `id`: which"),
        ("setThing", json!({ "id": -1 }), "`id` of `setThing` must be a whole number from 0 on, not -1"),
        ("setThing", json!({ "id": 1.5 }), "`id` of `setThing` must be a whole number from 0 on, not 1.5"),
        ("setThing", json!({ "id": 1, "ID": 2 }), "`id` of `setThing` is given twice"),
        (
            "setThing",
            json!({ "id": 1, "nmaes": [] }),
            "`setThing` has no parameter \"nmaes\"; did you mean `names`?",
        ),
        (
            "setThing",
            json!({ "id": 1, "names": [1] }),
            "`names` of `setThing` must be a list of texts, not [1]",
        ),
        (
            "setThing",
            json!({ "id": 1, "factor": "inf" }),
            "`factor` of `setThing` must be a number, not \"inf\"",
        ),
        ("listThings", json!({ "all": 2 }), "`all` of `listThings` must be true or false, not 2"),
        ("explode", json!({ "x": 1 }), "`explode` takes no parameters, but \"x\" was given"),
        ("setThing", json!({ "id": 1, "note": long }), "`note` of `setThing` must be a text, not \"xxxxx"),
    ];
    for (name, params, expected) in cases {
        let reply = run(name, params);
        assert_eq!(reply["status"], "FAIL");
        let found = reply["description"].as_str().unwrap();
        assert!(found.starts_with(expected) && found.len() < 200, "{found}");
    }
}

#[test]
fn variables_are_taken_where_they_are_wanted() {
    let reply = run("vary", json!({ "ID": 1, "$A_1": "x y", "$a_1": 7, "$_": "" }));
    assert_eq!(reply["data"], json!({ "id": 1, "$A_1": "x y", "$a_1": "7", "$_": "" }));
    let name = |bytes: usize| format!("${}", "v".repeat(bytes));
    for (name, good) in [
        (name(127), true),
        (name(128), true),
        (name(129), false),
        ("$".to_owned(), false),
        ("$1a".to_owned(), false),
        ("$a-b".to_owned(), false),
        ("$a=b".to_owned(), false),
        ("$\u{e4}".to_owned(), false),
        ("a$".to_owned(), false),
    ] {
        let reply = run("vary", json!({ &name: "v" }));
        assert_eq!(reply["status"] == "SUCCESS", good, "{reply}");
    }
    for (count, good) in [(63, true), (64, true), (65, false)] {
        let many = (0..count).map(|number| (format!("$V{number}"), json!("x"))).collect();
        assert_eq!(run("vary", Value::Object(many))["status"] == "SUCCESS", good, "{count}");
    }
    let text = |params| run("vary", params)["description"].as_str().unwrap().to_owned();
    assert!(text(json!({ "$1": "" })).starts_with("\"$1\" of `vary` is no variable: `$`, then letters"));
    assert_eq!(text(json!({ "$A": ["hidden"] })), "`$A` of `vary` must be a text");
    assert!(
        run("setThing", json!({ "id": 1, "$A": "" }))["description"]
            .as_str()
            .unwrap()
            .starts_with("`setThing` has no parameter \"$A\"")
    );

    let specs = specs();
    let params = specs[3].check(json!({ "$TOP": "secret" }).as_object().unwrap()).unwrap();
    assert_eq!(params.variables().collect::<Vec<_>>(), [("TOP", "secret")]);
    assert_eq!(Value::Object(params.shown()), json!({ "id": 0, "$TOP": "***" }));
    assert_eq!(specs[3].help("server")["parameters"][1]["name"], "$NAME");
    assert_eq!(specs[2].help("server")["parameters"], json!([]));
}

#[test]
fn a_caller_needs_the_rights() {
    let control = control();
    let works = |rights, name| run_as(&control, rights, name, json!({}))["status"] == "SUCCESS";
    assert!(works(Rights::Read, "listThings") && works(Rights::All, "explode"));
    assert!(!works(Rights::Read, "explode") && !works(Rights::Change, "explode"));
    let refused = run_as(&control, Rights::Read, "setThing", json!({ "id": 1 }));
    assert_eq!(refused["description"], "`setThing` changes something, and the caller may not");
}

#[test]
fn applications_add_commands_that_end_with_them() {
    let control = control();
    let answering = control.clone();
    let ask: Ask = Arc::new(move |id, name, params| answering.answered(id, Ok(json!([name, params]))));
    let command =
        json!({ "name": "hello", "readOnly": true, "parameters": [{ "name": "who", "mandatory": true }] });
    control.add("app", 1, &command, ask.clone()).unwrap();
    control.add("app", 2, &command, ask.clone()).expect("a newer instance takes its place");
    assert!(control.add("other", 3, &command, ask.clone()).unwrap_err().contains("application `app` has it"));
    assert!(
        control.add("app", 2, &json!({ "name": "EXPLODE" }), ask.clone()).unwrap_err().contains("the server")
    );
    assert!(control.add("app", 2, &json!({ "name": "no name" }), ask.clone()).is_err());
    let odd = json!({ "name": "odd", "parameters": [{ "name": "x", "type": "strange" }] });
    assert!(control.add("app", 2, &odd, ask).unwrap_err().contains("unknown type \"strange\""));
    let reply = run_as(&control, Rights::Read, "Hello", json!({ "who": "you" }));
    assert_eq!(reply["data"], json!(["hello", "{\"who\":\"you\"}"]));
    assert_eq!(control.help().as_array().unwrap().len(), specs().len() + 1);
    assert_eq!(control.help()[1]["owner"], "app");
    control.forget(1);
    assert_eq!(control.help()[1]["owner"], "app", "the older instance takes nothing with it");
    control.forget(2);
    assert_eq!(run_as(&control, Rights::Read, "hello", json!({}))["status"], "FAIL");
}

#[test]
fn a_command_is_taken_back_by_the_instance_that_has_it() {
    let control = control();
    let asks = |instance: u64| -> Ask {
        let answering = control.clone();
        Arc::new(move |id, _, _| answering.answered(id, Ok(instance.into())))
    };
    let command = json!({ "name": "who", "readOnly": true });
    let who = || run_as(&control, Rights::Read, "who", json!({}));
    control.add("app", 1, &command, asks(1)).unwrap();
    control.add("app", 2, &command, asks(2)).unwrap();
    assert!(!control.remove(3, "who") && !control.remove(2, "explode"));
    assert!(control.remove(2, "WHO") && !control.remove(2, "who"));
    assert_eq!(who()["data"], 1, "the older instance has it still");
    assert!(control.remove(1, "who"));
    assert_eq!(who()["status"], "FAIL");
    control.add("other", 3, &command, asks(3)).expect("the name is free");
}

#[test]
fn an_older_instance_takes_no_command_from_a_newer_one() {
    let control = control();
    let asks = |instance: u64| -> Ask {
        let answering = control.clone();
        Arc::new(move |id, _, _| answering.answered(id, Ok(instance.into())))
    };
    let command = |description: &str| json!({ "name": "who", "readOnly": true, "description": description });
    let who = || {
        let by = run_as(&control, Rights::Read, "who", json!({}))["data"].clone();
        (by, control.help_of("who").unwrap()["description"].clone())
    };
    control.add("app", 2, &command("new"), asks(2)).unwrap();
    control.add("app", 1, &command("old"), asks(1)).unwrap();
    assert_eq!(who(), (json!(2), json!("new")));
    assert_eq!(
        control.help().as_array().unwrap().iter().filter(|help| help["description"] == "new").count(),
        1
    );
    control.add("app", 3, &command("newest"), asks(3)).unwrap();
    // Each may change its own.
    control.add("app", 2, &command("changed"), asks(2)).unwrap();
    assert_eq!(who(), (json!(3), json!("newest")));
    control.forget(3);
    assert_eq!(who(), (json!(2), json!("changed")));
    assert!(control.remove(2, "who"));
    assert_eq!(who(), (json!(1), json!("old")));
}

#[test]
fn an_application_that_ends_leaves_no_caller_waiting() {
    let control = control();
    control.add("app", 1, &json!({ "name": "wait" }), Arc::new(|_, _, _| {})).unwrap();
    let (sender, replies) = mpsc::channel();
    let caller = Caller { name: "test".to_owned(), instance: 0, session: None, rights: Rights::All };
    let reply = Box::new(move |reply: Value| sender.send(reply).unwrap());
    control.run(Call { name: "wait".to_owned(), params: Map::new(), caller, reply });
    assert!(replies.try_recv().is_err());
    control.forget(2);
    assert!(replies.try_recv().is_err(), "that was another instance");
    control.forget(1);
    assert_eq!(replies.try_recv().unwrap()["description"], "the application has ended");
}

#[test]
fn an_instance_that_fails_to_start_gives_its_commands_back() {
    let control = control();
    let asks = |instance: u64| -> Ask {
        let answering = control.clone();
        Arc::new(move |id, _, _| answering.answered(id, Ok(instance.into())))
    };
    let command = json!({ "name": "who", "readOnly": true });
    let who = || run_as(&control, Rights::Read, "who", json!({}))["data"].clone();
    control.add("app", 1, &command, asks(1)).unwrap();
    control.add("app", 2, &command, asks(2)).unwrap();
    assert_eq!(who(), 2);
    control.forget(2);
    assert_eq!(who(), 1);
}

#[test]
fn commands_are_bounded_for_each_instance() {
    let control = control();
    let add = |instance: u64, number: usize| {
        let command = json!({ "name": format!("c{number}") });
        control.add("app", instance, &command, Arc::new(|_, _, _| {}))
    };
    assert!((0..ADDED).all(|number| add(1, number).is_ok()));
    assert!(add(1, ADDED).unwrap_err().contains("256"));
    add(1, 7).expect("it is there already");
    assert!((0..ADDED).all(|number| add(2, number).is_ok()), "a newer instance has as much room");
    assert_eq!(control.help().as_array().unwrap().len(), specs().len() + ADDED);
}

#[test]
fn commands_are_told_whatever_becomes_of_them() {
    let told: Arc<Mutex<Vec<(events::Kind, Value)>>> = Arc::default();
    let (tell, web) =
        (told.clone(), Client::start(&crtmp_media::Limits::default(), Outbound::default()).unwrap());
    let control = Control::new(
        specs(),
        web,
        Box::new(move |kind, payload| tell.lock().unwrap().push((kind, payload()))),
        Box::new(|job| (job.reply)(success("", Value::Object(job.params.map().clone())))),
    );
    let (asking, command) = (control.clone(), json!({ "name": "twice", "readOnly": true }));
    let ask: Ask = Arc::new(move |id, _, _| asking.answered(id, Ok(json!(2))));
    control.add("app", 1, &command, ask).unwrap();
    for (name, rights, params, command, status) in [
        ("vary", Rights::Read, json!({ "ID": 3, "$KEY": "open" }), "vary", "SUCCESS"),
        ("TWICE", Rights::Read, json!({}), "twice", "SUCCESS"),
        ("twice", Rights::Read, json!({ "more": 1 }), "twice", "FAIL"),
        ("nowhere", Rights::All, json!({ "$KEY": "open" }), "nowhere", "FAIL"),
        ("explode", Rights::Change, json!({}), "explode", "FAIL"),
    ] {
        let reply = run_as(&control, rights, name, params);
        let told: Vec<(events::Kind, Value)> = std::mem::take(&mut told.lock().unwrap());
        let [(events::Kind::CliRequest, request), (events::Kind::CliResponse, response)] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!((&request["command"], &request["caller"]), (&json!(command), &json!("test")), "{request}");
        assert!(!request.to_string().contains("open"), "{request}");
        assert_eq!((&response["command"], &response["status"]), (&json!(command), &json!(status)));
        for key in ["data", "description", "status"] {
            assert_eq!(response[key], reply[key]);
        }
    }
}

#[test]
fn http_requests_say_what_they_want_and_get_one_result() {
    let control = control();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let ask = |request: Value| {
        let Value::Object(request) = request else { panic!("a request is an object") };
        let (sender, results) = mpsc::channel();
        control
            .http(&request, Vec::new(), Box::new(move |outcome| sender.send(outcome).unwrap()))
            .map(|()| results.recv().unwrap())
    };
    for wrong in [json!(1), json!("true"), Value::Null] {
        assert_eq!(ask(json!({ "url": url, "publicOnly": wrong })), Err(NotTaken::Invalid), "{wrong}");
    }
    assert_eq!(ask(json!({ "url": url, "other": true })), Err(NotTaken::Invalid));
    assert_eq!(ask(json!({ "url": url, "method": 1 })), Err(NotTaken::Invalid));
    assert_eq!(ask(json!({ "url": url, "timeoutMs": "50" })), Err(NotTaken::Invalid));
    assert_eq!(ask(json!({})), Err(NotTaken::Invalid));
    let refused = ask(json!({ "url": url, "publicOnly": true })).unwrap();
    assert_eq!(refused.status, abi::RESULT_ERROR);
    assert!(refused.value.contains("public Internet"), "{}", refused.value);
    let late = ask(json!({ "url": url, "publicOnly": false, "timeoutMs": 50 })).unwrap();
    assert_eq!((late.status, late.value.as_str()), (abi::RESULT_TIMEOUT, "null"));
}
