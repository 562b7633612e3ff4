//! What a command is called and takes, and how its parameters are checked.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::{config::did_you_mean, secrets::MASK};

/// Bytes of one text that a parameter may hold.
const TEXT: usize = 64 * 1024;

/// Entries of one list that a parameter may hold.
const LIST: usize = 1024;

/// Parameters that a command of an application may have.
const PARAMS: usize = 64;

/// Variables that one call may give to a command that takes them.
const VARIABLES: usize = 64;

/// Bytes of the name of a variable.
const VARIABLE: usize = 128;

/// A command, as `help` shows it.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its name; case does not count when it is called.
    pub name: Cow<'static, str>,
    /// What it does, in a sentence.
    pub description: Cow<'static, str>,
    /// What it may do, and who may call it.
    pub access: Access,
    /// What it takes.
    pub params: Vec<Param>,
    /// Whether it takes further texts under names that begin with `$`, and what these mean.
    pub variables: Option<Cow<'static, str>>,
}

/// What a command may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// It only looks.
    Read,
    /// It changes something.
    Change,
    /// It can harm the machine or end the server: it always needs the secret.
    Secret,
}

/// A parameter.
#[derive(Clone, Debug)]
pub struct Param {
    /// Its name; case does not count when it is given.
    pub name: Cow<'static, str>,
    /// What it may hold.
    pub kind: Kind,
    /// Whether it must be given.
    pub mandatory: bool,
    /// What it holds when it is not given: JSON text; `null` for nothing.
    pub default: Cow<'static, str>,
    /// What it means.
    pub description: Cow<'static, str>,
}

/// What a parameter may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A whole number from 0 on; ids are such.
    Whole,
    /// A whole number.
    Signed,
    /// A number.
    Number,
    /// True or false; 1 and 0 as well.
    Flag,
    /// A list of texts.
    List,
    /// Anything that JSON can say.
    Json,
}

impl Kind {
    /// Its name in `help`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Whole => "whole",
            Self::Signed => "signed",
            Self::Number => "number",
            Self::Flag => "flag",
            Self::List => "list",
            Self::Json => "json",
        }
    }

    fn read(name: &str) -> Option<Self> {
        [Self::Text, Self::Whole, Self::Signed, Self::Number, Self::Flag, Self::List, Self::Json]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Whole => "a whole number from 0 on",
            Self::Signed => "a whole number",
            Self::Number => "a number",
            Self::Flag => "true or false",
            Self::List => "a list of texts",
            Self::Json => "JSON",
        }
    }

    /// The value in the form of this kind; text faces have nothing but texts.
    fn take(self, value: &Value) -> Option<Value> {
        let text = value.as_str();
        match self {
            Self::Text => match value {
                Value::String(text) => (text.len() <= TEXT).then(|| value.clone()),
                Value::Number(number) => Some(number.to_string().into()),
                _ => None,
            },
            Self::Whole => value.as_u64().or_else(|| text?.parse().ok()).map(Value::from),
            Self::Signed => value.as_i64().or_else(|| text?.parse().ok()).map(Value::from),
            Self::Number => {
                let number: f64 = value.as_f64().or_else(|| text?.parse().ok())?;
                serde_json::Number::from_f64(number).map(Value::Number)
            }
            Self::Flag => match (value, text) {
                (Value::Bool(flag), _) => Some((*flag).into()),
                (Value::Number(number), _) => match number.as_u64()? {
                    0 => Some(false.into()),
                    1 => Some(true.into()),
                    _ => None,
                },
                (_, Some("1" | "true")) => Some(true.into()),
                (_, Some("0" | "false")) => Some(false.into()),
                _ => None,
            },
            Self::List => match value {
                Value::Array(list) if list.len() <= LIST => {
                    let fits = |text: &str| text.len() <= TEXT;
                    list.iter().all(|entry| entry.as_str().is_some_and(fits)).then(|| value.clone())
                }
                Value::String(text) if text.len() <= TEXT => Some(json!([text])),
                _ => None,
            },
            Self::Json => Some(value.clone()),
        }
    }
}

impl Spec {
    /// A command of the server.
    pub fn new(name: &'static str, access: Access, params: &[Param], description: &'static str) -> Self {
        let (name, description) = (name.into(), description.into());
        Self { name, description, access, params: params.to_vec(), variables: None }
    }

    /// It takes further texts under names that begin with `$`; these mean what `description` says.
    #[must_use]
    pub fn with_variables(self, description: &'static str) -> Self {
        Self { variables: Some(description.into()), ..self }
    }

    /// Reads what an application says of its command.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(command: &Value) -> Result<Self, String> {
        let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let name = text(command, "name");
        if !is_name(&name) {
            return Err(format!(
                "{name:?} is no name of a command: letters, digits, `_`, `-` and `.`, at most 64"
            ));
        }
        let list = command["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        if list.len() > PARAMS {
            return Err(format!("the command `{name}` has more than {PARAMS} parameters"));
        }
        let mut params: Vec<Param> = Vec::new();
        for value in list {
            let param = text(value, "name");
            let kind = value["type"].as_str().unwrap_or("text");
            let kind = Kind::read(kind).ok_or_else(|| {
                format!("the parameter `{param}` of `{name}` is of the unknown type {kind:?}")
            })?;
            let known = params.iter().any(|other| other.name.eq_ignore_ascii_case(&param));
            if !is_name(&param) || known {
                return Err(format!("{param:?} is no name of a parameter of `{name}`, or is there twice"));
            }
            params.push(Param {
                name: param.into(),
                kind,
                mandatory: value["mandatory"] == true,
                default: value["defaultValue"].to_string().into(),
                description: text(value, "description").into(),
            });
        }
        let access = if command["readOnly"] == true { Access::Read } else { Access::Change };
        let description = text(command, "description").into();
        Ok(Self { name: name.into(), description, access, params, variables: None })
    }

    /// As `help` shows it; `owner` is whose it is.
    pub fn help(&self, owner: &str) -> Value {
        let param = |param: &Param| {
            json!({
                "name": param.name,
                "type": param.kind.name(),
                "mandatory": param.mandatory,
                "defaultValue": serde_json::from_str::<Value>(&param.default).unwrap_or_default(),
                "description": param.description,
            })
        };
        let variables = self.variables.as_ref().map(|description| Param {
            name: "$NAME".into(),
            kind: Kind::Text,
            mandatory: false,
            default: "null".into(),
            description: description.clone(),
        });
        json!({
            "command": self.name,
            "deprecated": false,
            "description": self.description,
            "owner": owner,
            "readOnly": self.access == Access::Read,
            "needsSecret": self.access == Access::Secret,
            "parameters": self.params.iter().chain(&variables).map(param).collect::<Vec<_>>(),
        })
    }

    /// Checks parameters and adds defaults.
    ///
    /// # Errors
    ///
    /// The first mistake: a parameter that is missing, unknown, there twice, or of another kind.
    pub fn check(&self, given: &Map<String, Value>) -> Result<Params, String> {
        let mut params = Map::new();
        for (key, value) in given {
            if self.variables.is_some() && key.starts_with('$') {
                let text = self.variable(key, value)?;
                params.insert(key.clone(), text);
                continue;
            }
            let Some(param) = self.params.iter().find(|param| param.name.eq_ignore_ascii_case(key)) else {
                return Err(self.unknown(key));
            };
            let taken = param.kind.take(value).ok_or_else(|| {
                let shown: String = value.to_string().chars().take(64).collect();
                format!("`{}` of `{}` must be {}, not {shown}", param.name, self.name, param.kind.expected())
            })?;
            if params.insert(param.name.to_string(), taken).is_some() {
                return Err(format!("`{}` of `{}` is given twice", param.name, self.name));
            }
        }
        let variables = params.keys().filter(|key| key.starts_with('$')).count();
        if variables > VARIABLES {
            return Err(format!("`{}` takes at most {VARIABLES} variables, not {variables}", self.name));
        }
        for param in self.params.iter() {
            if params.contains_key(&*param.name) {
                continue;
            }
            if param.mandatory {
                return Err(format!("`{}` needs `{}`: {}", self.name, param.name, param.description));
            }
            let default = serde_json::from_str(&param.default).unwrap_or_default();
            params.insert(param.name.to_string(), default);
        }
        Ok(Params(params))
    }

    /// The text under a name that begins with `$`. Case counts.
    fn variable(&self, key: &str, value: &Value) -> Result<Value, String> {
        let name = key.strip_prefix('$').unwrap_or(key);
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let begins = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        if !begins || name.len() > VARIABLE || !name.bytes().all(fits) {
            let shown: String = key.chars().take(64).collect();
            return Err(format!(
                "{shown:?} of `{}` is no variable: `$`, then letters, digits and `_`, no digit first, at most \
                 {VARIABLE}",
                self.name
            ));
        }
        // The value may be secret, so it is not shown.
        Kind::Text
            .take(value)
            .ok_or_else(|| format!("`{key}` of `{}` must be {}", self.name, Kind::Text.expected()))
    }

    fn unknown(&self, key: &str) -> String {
        let shown: String = key.chars().take(64).collect();
        if self.params.is_empty() {
            return format!("`{}` takes no parameters, but {shown:?} was given", self.name);
        }
        let names: Vec<&str> = self.params.iter().map(|param| &*param.name).collect();
        match did_you_mean(key, names.iter().copied()) {
            Some(near) => format!("`{}` has no parameter {shown:?}; did you mean `{near}`?", self.name),
            None => format!("`{}` has no parameter {shown:?}; it has {}", self.name, names.join(", ")),
        }
    }
}

impl Param {
    /// A parameter that must be given.
    pub const fn required(name: &'static str, kind: Kind, description: &'static str) -> Self {
        Self::of(name, kind, true, "null", description)
    }

    /// A parameter that has a default (JSON text).
    pub const fn optional(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        description: &'static str,
    ) -> Self {
        Self::of(name, kind, false, default, description)
    }

    const fn of(
        name: &'static str,
        kind: Kind,
        mandatory: bool,
        default: &'static str,
        description: &'static str,
    ) -> Self {
        let (name, default) = (Cow::Borrowed(name), Cow::Borrowed(default));
        Self { name, kind, mandatory, default, description: Cow::Borrowed(description) }
    }
}

/// The parameters of a call, checked, with all defaults.
#[derive(Clone, Debug, Default)]
pub struct Params(Map<String, Value>);

impl Params {
    /// The text under `name`; empty where there is none.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// The text under `name`, where there is one.
    pub fn given_text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// The whole number under `name`.
    pub fn whole(&self, name: &str) -> Option<u64> {
        self.0.get(name).and_then(Value::as_u64)
    }

    /// The number with a sign under `name`.
    pub fn signed(&self, name: &str) -> Option<i64> {
        self.0.get(name).and_then(Value::as_i64)
    }

    /// The number under `name`.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name).and_then(Value::as_f64)
    }

    /// Whether the flag under `name` is set.
    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The texts under `name`.
    pub fn list(&self, name: &str) -> Vec<&str> {
        let list = self.0.get(name).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Name, without `$`, and text of each variable.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(key, value)| Some((key.strip_prefix('$')?, value.as_str()?)))
    }

    /// All of them, for others to see: what variables hold may be secret.
    pub fn shown(&self) -> Map<String, Value> {
        shown(&self.0)
    }

    /// All of them, as JSON text.
    pub fn json(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// All of them.
    pub fn map(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// Parameters, checked or not, for others to see: what variables hold may be secret.
pub(super) fn shown(params: &Map<String, Value>) -> Map<String, Value> {
    let mut shown = params.clone();
    for (key, value) in &mut shown {
        if key.starts_with('$') {
            *value = MASK.into();
        }
    }
    shown
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !name.is_empty() && name.len() <= 64 && name.bytes().all(fits)
}
