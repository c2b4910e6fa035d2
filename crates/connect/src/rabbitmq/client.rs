//! A connection to a RabbitMQ, and what it answers.

use lapin::options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::{
    AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism,
};
use lapin::{Channel, Connection, ConnectionProperties, Consumer, DefaultConnectionBuilder};
use tidemill_core::{Cancellation, Error, ErrorKind, Result};

use super::settings::Object;
use crate::server::{Server, choose_cryptography, patiently};

/// The reply to what was done as it should be.
const DONE: u16 = 200;

/// The argument that says where a stream is read from.
pub(super) const OFFSET: &str = "x-stream-offset";

/// A connection and its channel.
pub(super) struct Client {
    connection: Connection,
    pub(super) channel: Channel,
}

/// Connects, and again if the server does not answer.
///
/// # Errors
/// Kind `Denied` for a login that is refused, `Unavailable`.
pub(super) async fn connect(server: &Server, cancel: &Cancellation) -> Result<Client> {
    patiently(cancel, || connect_once(server)).await
}

/// The same, asking once.
pub(super) async fn connect_once(server: &Server) -> Result<Client> {
    choose_cryptography();
    let login = server.login().await?;
    let external = login.user.is_none() && login.identity.is_some();
    let user = login.user.clone().unwrap_or_else(|| "guest".to_owned());
    let password = match &login.password {
        Some(password) => password.expose().to_owned(),
        // The login that a RabbitMQ has that nobody set up; it holds on its own machine alone.
        None => "guest".to_owned(),
    };
    let uri = AMQPUri {
        scheme: if server.tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo { username: user, password },
            host: server.host.clone(),
            port: server.port,
        },
        vhost: match server.path.as_deref() {
            None | Some("") => "/".to_owned(),
            Some(vhost) => vhost.to_owned(),
        },
        query: AMQPQueryString {
            heartbeat: Some(30),
            connection_timeout: u64::try_from(server.timeout.as_millis()).ok(),
            auth_mechanism: external.then_some(SASLMechanism::External),
            ..AMQPQueryString::default()
        },
    };
    let authorities = login
        .authorities
        .map(String::from_utf8)
        .transpose()
        .map_err(|error| Error::new(ErrorKind::Config, "`ca` is not in PEM").because(error))?;
    let tls = OwnedTLSConfig {
        identity: login.identity.map(|(pem, key)| OwnedIdentity::PKCS8 { pem, key }),
        cert_chain: authorities,
    };
    let properties = ConnectionProperties::default().with_connection_name("tidemill".into());
    let builder = DefaultConnectionBuilder::new().map_err(failure)?;
    let builder = builder.with_uri(uri).with_properties(properties).with_tls_config(tls);
    let connection = match tokio::time::timeout(server.timeout, builder.connect()).await {
        Ok(connected) => connected.map_err(failure)?,
        Err(_) => {
            let message = "RabbitMQ does not answer within `timeout`";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
    };
    let channel = connection.create_channel().await.map_err(failure)?;
    Ok(Client { connection, channel })
}

impl Client {
    /// Ends the connection. Messages that are not acknowledged go back to their queue.
    pub(super) async fn close(self) {
        if let Err(error) = self.connection.close(DONE, "done".into()).await {
            tracing::debug!(%error, "a connection to RabbitMQ was not closed");
        }
    }

    /// Ends the channel: the server has heard everything that was said on it.
    pub(super) async fn close_channel(&self) -> Result<()> {
        self.channel.close(DONE, "done".into()).await.map_err(failure)
    }

    /// Another channel: one is of no use after an error.
    pub(super) async fn renew_channel(&mut self) -> Result<()> {
        self.channel = self.connection.create_channel().await.map_err(failure)?;
        Ok(())
    }

    /// How many messages are in a queue that wait for somebody.
    ///
    /// # Errors
    /// Kind `NotFound`, if there is none.
    pub(super) async fn count(&self, queue: &str) -> Result<u64> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared =
            self.channel.queue_declare(short(queue)?, options, FieldTable::default()).await;
        declared.map(|queue| u64::from(queue.message_count())).map_err(failure)
    }

    /// Has at most so many messages delivered that are not acknowledged.
    pub(super) async fn consume(
        &self,
        queue: &str,
        prefetch: u16,
        offset: Option<AMQPValue>,
    ) -> Result<Consumer> {
        self.channel.basic_qos(prefetch, BasicQosOptions::default()).await.map_err(failure)?;
        let mut arguments = FieldTable::default();
        if let Some(offset) = offset {
            arguments.insert(OFFSET.into(), offset);
        }
        let consumer = self
            .channel
            .basic_consume(
                short(queue)?,
                ShortString::default(),
                BasicConsumeOptions::default(),
                arguments,
            )
            .await;
        consumer.map_err(failure)
    }

    /// Whether it is a stream. The server says it by what it lets be asked for.
    pub(super) async fn is_stream(&mut self, queue: &str) -> Result<bool> {
        self.count(queue).await?;
        let asked = self.consume(queue, 1, Some(AMQPValue::LongString("next".into()))).await;
        match asked {
            Ok(consumer) => {
                let canceled = self.channel.basic_cancel(consumer.tag(), Default::default()).await;
                canceled.map_err(failure)?;
                Ok(true)
            }
            Err(error) if refuses_offset(&error) => {
                self.renew_channel().await?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// What is really looked at: a preview says nothing but a name.
///
/// # Errors
/// Kind `NotFound`, or `Config` for a queue that is called a stream.
pub(super) async fn resolve(
    server: &Server,
    object: Object,
    cancel: &Cancellation,
) -> Result<Object> {
    let Object::Queue(name) = object else { return Ok(object) };
    let mut client = connect(server, cancel).await?;
    let is_stream = client.is_stream(&name).await;
    client.close().await;
    Ok(if is_stream? { Object::Stream(name) } else { Object::Queue(name) })
}

/// A stream that is called a queue.
pub(super) fn is_a_stream(name: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("`{name}` is a stream, which keeps its messages; write `stream: {name}`"),
    )
}

/// A queue that is called a stream.
pub(super) fn is_a_queue(name: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("`{name}` is no stream but a queue; write `queue: {name}`"),
    )
}

/// Whether the server refused to say where a stream begins, of what is none.
pub(super) fn refuses_offset(error: &Error) -> bool {
    error.report().contains(OFFSET)
}

/// A name, or a routing key.
///
/// # Errors
/// Kind `Config`.
pub(super) fn short(name: &str) -> Result<ShortString> {
    ShortString::try_new(name).map_err(|error| {
        Error::new(ErrorKind::Config, "a name or routing key has at most 255 bytes").because(error)
    })
}

/// An error of RabbitMQ as ours.
pub(super) fn failure(error: lapin::Error) -> Error {
    use lapin::ErrorKind as Kind;

    let (kind, message) = match error.kind() {
        Kind::ProtocolError(said) => match said.get_id() {
            403 => (ErrorKind::Denied, "RabbitMQ refuses the login, or its user may not do this"),
            404 => (ErrorKind::NotFound, "RabbitMQ does not have what is asked for"),
            405 => (ErrorKind::Unavailable, "the queue is taken by somebody else alone"),
            530 => (ErrorKind::Denied, "RabbitMQ does not let us in"),
            320 | 506 | 541 => (ErrorKind::Unavailable, "RabbitMQ ends the connection"),
            _ => (ErrorKind::Query, "RabbitMQ refuses a request"),
        },
        Kind::IOError(_)
        | Kind::RuntimeShutdownError(_)
        | Kind::MissingHeartbeatError
        | Kind::InvalidChannel(_)
        | Kind::InvalidChannelState(..)
        | Kind::InvalidConnectionState(_) => {
            (ErrorKind::Unavailable, "RabbitMQ cannot be reached, or the connection is lost")
        }
        Kind::AuthProviderError(_) => (ErrorKind::Denied, "RabbitMQ does not accept the login"),
        _ => (ErrorKind::Query, "RabbitMQ cannot be understood"),
    };
    Error::new(kind, message).because(error)
}
