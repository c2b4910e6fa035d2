//! A connection to a Redis, and what it answers.

use std::collections::HashSet;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, IntoConnectionInfo, Pipeline, RedisConnectionInfo,
    RedisError, RedisResult, ServerErrorKind, TlsCertificates, Value,
};
use tidemill_core::{Cancellation, Error, ErrorKind, ReadRequest, ReadScope, Result};

use super::settings::Object;
use crate::server::{Server, choose_cryptography, patiently};

/// The longest that a reply may take once the connection is made: a server that writes itself to disk
/// answers nobody meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection.
pub(super) struct Client {
    connection: MultiplexedConnection,
}

/// Connects, and again if the server does not answer.
///
/// # Errors
/// Kind `Denied` for a login that is refused, `Unavailable`, and `Unsupported` for a cluster or a sentinel.
pub(super) async fn connect(
    server: &Server,
    database: i64,
    cancel: &Cancellation,
) -> Result<Client> {
    choose_cryptography();
    let login = server.login().await?;
    let mut settings = RedisConnectionInfo::default().set_db(database);
    if let Some(user) = &login.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &login.password {
        settings = settings.set_password(password.expose());
    }
    let host = server.host.clone();
    let address = match server.tls {
        true => {
            ConnectionAddr::TcpTls { host, port: server.port, insecure: false, tls_params: None }
        }
        false => ConnectionAddr::Tcp(host, server.port),
    };
    let info = address.into_connection_info().map_err(failure)?.set_redis_settings(settings);
    let client = match server.tls {
        true => {
            let client_tls = login.identity.map(|(client_cert, client_key)| {
                redis::ClientTlsConfig { client_cert, client_key }
            });
            let certificates = TlsCertificates { client_tls, root_cert: login.authorities };
            redis::Client::build_with_tls(info, certificates).map_err(failure)?
        }
        false => redis::Client::open(info).map_err(failure)?,
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(server.timeout))
        .set_response_timeout(Some(PATIENCE));
    let connection = patiently(cancel, || async {
        client.get_multiplexed_async_connection_with_config(&config).await.map_err(failure)
    });
    let mut client = Client { connection: connection.await? };
    client.is_one_server().await?;
    Ok(client)
}

impl Client {
    /// # Errors
    /// As those of [`failure`].
    pub(super) async fn ask(&mut self, command: &Cmd) -> Result<Value> {
        command.query_async(&mut self.connection).await.map_err(failure)
    }

    /// The answers to several commands, in one go. Of a key whose type is another one by now there is none.
    pub(super) async fn ask_all(&mut self, commands: Vec<Cmd>) -> Result<Vec<Option<Value>>> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command);
        }
        pipeline.ignore_errors();
        let answers: Vec<RedisResult<Value>> =
            pipeline.query_async(&mut self.connection).await.map_err(failure)?;
        let answer = |answer: RedisResult<Value>| match answer {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.code() == Some("WRONGTYPE") => Ok(None),
            Err(error) => Err(failure(error)),
        };
        answers.into_iter().map(answer).collect()
    }

    /// Does all of them, or none.
    pub(super) async fn together(&mut self, commands: Vec<Cmd>) -> Result<()> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        pipeline.atomic();
        for command in commands {
            pipeline.add_command(command).ignore();
        }
        pipeline.query_async(&mut self.connection).await.map_err(failure)
    }

    pub(super) async fn ping(&mut self) -> Result<()> {
        self.ask(&redis::cmd("PING")).await.map(drop)
    }

    /// The type of a key, as Redis calls it; `none` if there is none.
    pub(super) async fn type_of(&mut self, key: &[u8]) -> Result<String> {
        let answer = self.ask(redis::cmd("TYPE").arg(key)).await?;
        Ok(text(&answer).unwrap_or_default())
    }

    /// What is really read. A preview says nothing but a name, which may be that of a key or a pattern.
    ///
    /// # Errors
    /// Kind `NotFound` for a stream that is not there, `Config` for a key that is none.
    pub(super) async fn resolve(
        &mut self,
        object: Object,
        request: &ReadRequest,
    ) -> Result<Object> {
        let whole = request.scope == ReadScope::Whole;
        match object {
            Object::Keys(_) if !whole => Err(Error::new(
                ErrorKind::Config,
                "`keys` are read whole with every load, as Redis does not say what has changed; write \
                 `mode: full`",
            )),
            Object::Stream(name) => {
                let kind = self.type_of(name.as_bytes()).await?;
                let is_pattern = name.contains(['*', '?', '[']);
                match kind.as_str() {
                    "stream" => Ok(Object::Stream(name)),
                    "none" if !(is_pattern && whole) => Err(Error::new(
                        ErrorKind::NotFound,
                        format!("there is no stream `{name}` in this database of Redis"),
                    )),
                    _ if whole => Ok(Object::Keys(name)),
                    other => Err(Error::new(
                        ErrorKind::Config,
                        format!(
                            "`{name}` is no stream but a {other}; keys are read by `keys: \"{name}\"` and \
                             `mode: full`"
                        ),
                    )),
                }
            }
            keys @ Object::Keys(_) => Ok(keys),
        }
    }

    /// # Errors
    /// Kind `Unsupported` for a cluster, which needs another client, and a sentinel, which has no data.
    async fn is_one_server(&mut self) -> Result<()> {
        let answer = match self.ask(redis::cmd("INFO").arg("server")).await {
            Ok(answer) => answer,
            // A user may not be allowed to ask.
            Err(error) if error.kind() == ErrorKind::Denied => return Ok(()),
            Err(error) => return Err(error),
        };
        let about = text(&answer).unwrap_or_default();
        let mode = about.lines().find_map(|line| line.strip_prefix("redis_mode:"));
        match mode.map(str::trim) {
            Some("cluster") => Err(cluster()),
            Some("sentinel") => Err(Error::new(
                ErrorKind::Unsupported,
                "this is a Redis Sentinel, which has no data; name the server that it watches",
            )),
            _ => Ok(()),
        }
    }
}

fn cluster() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "Redis Cluster is not read: its keys are spread over servers; use a single server or a replica of one",
    )
}

/// An error of Redis as ours.
pub(super) fn failure(error: RedisError) -> Error {
    use redis::ErrorKind as Kind;

    if error.is_cluster_error() {
        return cluster().because(error);
    }
    let code = error.code().unwrap_or_default().to_owned();
    let (kind, message) = match (error.kind(), code.as_str()) {
        (Kind::AuthenticationFailed, _) | (_, "WRONGPASS" | "NOAUTH") => {
            (ErrorKind::Denied, "Redis does not accept the login (`user` and `password`)")
        }
        (Kind::Server(ServerErrorKind::NoPerm), _) | (_, "NOPERM") => {
            (ErrorKind::Denied, "the user of Redis may not do this")
        }
        (Kind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown), _)
        | (_, "LOADING" | "MASTERDOWN" | "BUSY" | "TRYAGAIN") => {
            (ErrorKind::Unavailable, "Redis cannot answer now")
        }
        (Kind::Io, _) => (ErrorKind::Unavailable, "Redis cannot be reached"),
        (Kind::InvalidClientConfig, _) => {
            (ErrorKind::Config, "the connection to Redis cannot be made of these settings")
        }
        _ => (ErrorKind::Query, "Redis refuses a command"),
    };
    Error::new(kind, message).because(error)
}

/// A value that is a text.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        Value::Okay => Some("OK".to_owned()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A value that is a whole number.
pub(super) fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        other => text(other)?.parse().ok(),
    }
}

/// Bytes as Redis gives them.
pub(super) fn bytes(value: Value) -> Result<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Ok(text.into_bytes()),
        Value::Int(number) => Ok(number.to_string().into_bytes()),
        Value::Double(number) => Ok(number.to_string().into_bytes()),
        other => Err(odd("a text", &other)),
    }
}

/// The elements of a list.
pub(super) fn elements(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(elements) | Value::Set(elements) => Ok(elements),
        Value::Map(pairs) => Ok(pairs.into_iter().flat_map(|(key, value)| [key, value]).collect()),
        Value::Nil => Ok(Vec::new()),
        other => Err(odd("a list", &other)),
    }
}

/// Names and values that stand one behind the other.
pub(super) fn pairs(value: Value) -> Result<Vec<(Vec<u8>, Value)>> {
    let mut found = Vec::new();
    let mut elements = elements(value)?.into_iter();
    while let (Some(name), Some(value)) = (elements.next(), elements.next()) {
        found.push((bytes(name)?, value));
    }
    Ok(found)
}

/// How many bytes a reply has, about.
pub(super) fn size(value: &Value) -> usize {
    match value {
        Value::BulkString(bytes) => bytes.len() + 16,
        Value::Array(elements) | Value::Set(elements) => elements.iter().map(size).sum(),
        Value::Map(pairs) => pairs.iter().map(|(key, value)| size(key) + size(value)).sum(),
        _ => 16,
    }
}

/// A reply that cannot be.
pub(super) fn odd(expected: &str, value: &Value) -> Error {
    let what = match value {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::Array(_) | Value::Set(_) | Value::Map(_) => "a list",
        Value::ServerError(error) => {
            return Error::new(
                ErrorKind::Query,
                format!(
                    "Redis refuses a command: {} {}",
                    error.code(),
                    error.details().unwrap_or_default()
                ),
            );
        }
        _ => "something else",
    };
    Error::new(ErrorKind::Data, format!("Redis gave {what} where {expected} is expected"))
}

/// Fields and values as an object in JSON. A field that comes again has a list of its values, and bytes that
/// are no UTF-8 stand as `base64:` and their digits.
pub(super) fn object(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = Vec::with_capacity(fields.len());
    let mut known = HashSet::with_capacity(fields.len());
    for (name, _) in fields {
        if known.insert(name.as_slice()) {
            names.push(name);
        }
    }
    let mut out = vec![b'{'];
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(json_text(name).as_bytes());
        out.push(b':');
        if names.len() == fields.len() {
            out.extend_from_slice(json_text(&fields[at].1).as_bytes());
            continue;
        }
        let values: Vec<String> = fields
            .iter()
            .filter(|(own, _)| own == name)
            .map(|(_, value)| json_text(value))
            .collect();
        match values.as_slice() {
            [one] => out.extend_from_slice(one.as_bytes()),
            many => out.extend_from_slice(format!("[{}]", many.join(",")).as_bytes()),
        }
    }
    out.push(b'}');
    out
}

/// A text in JSON.
pub(super) fn json_text(bytes: &[u8]) -> String {
    serde_json::Value::String(plain_text(bytes)).to_string()
}

fn plain_text(bytes: &[u8]) -> String {
    use base64::Engine as _;

    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("base64:{}", base64::engine::general_purpose::STANDARD.encode(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &[u8]) -> (Vec<u8>, Vec<u8>) {
        (name.as_bytes().to_vec(), value.to_vec())
    }

    #[test]
    fn fields_are_an_object() {
        let fields = [pair("a", b"1"), pair("b\"c", "größe\n".as_bytes()), pair("x", b"\xff")];
        let text = String::from_utf8(object(&fields)).unwrap();
        assert_eq!(text, r#"{"a":"1","b\"c":"größe\n","x":"base64:/w=="}"#);
        assert_eq!(object(&[]), b"{}");
        let again = object(&[pair("a", b"1"), pair("b", b"2"), pair("a", b"3")]);
        assert_eq!(String::from_utf8(again).unwrap(), r#"{"a":["1","3"],"b":"2"}"#);
    }

    #[test]
    fn replies_are_taken_apart() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let list = Value::Array(vec![text("a"), Value::Int(3), text("b"), Value::Nil]);
        let found = pairs(list).unwrap();
        assert_eq!(found[0], (b"a".to_vec(), Value::Int(3)));
        assert_eq!(number(&text("-7")), Some(-7));
        assert_eq!(number(&text("x")), None);
        assert!(elements(Value::Int(1)).unwrap_err().message().contains("a list is expected"));
        assert!(bytes(Value::Nil).is_err());
    }
}
