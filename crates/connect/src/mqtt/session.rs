//! A connection to a broker: a task that keeps it alive, and what it gives.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::{
    AckMode, AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, ManualAck,
    MqttOptions, Packet, PubAck, PubRec, Publish, PublishNotice, PublishOptions, QoS,
    SubscribeFilter, SubscribeReasonCode, TlsConfiguration, Transport,
};
use tidemill_core::{Cancellation, Error, ErrorKind, Result};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::server::{Server, patiently};

/// How many messages wait in memory.
const WAITING: usize = 100;

/// The largest message of MQTT.
const LARGEST: usize = 256 << 20;

/// How long the end of a connection may take.
const END: Duration = Duration::from_secs(5);

/// A filter that nobody subscribes to: to take it back changes nothing, and the answer comes behind what was
/// said before.
const NOBODYS: &str = "tidemill/nothing";

/// A connection. It stays alive in a task of its own, whether or not somebody looks at what comes.
pub(super) struct Session {
    client: AsyncClient,
    task: JoinHandle<()>,
    came: mpsc::Receiver<Result<Publish>>,
    /// Whether the broker knew the session.
    pub(super) is_known: bool,
    timeout: Duration,
}

impl Session {
    /// One that the broker forgets. Connects again if the broker does not answer.
    pub(super) async fn look(server: &Server, cancel: &Cancellation) -> Result<Session> {
        let id = format!("tidemill{:015x}", fastrand::u64(..) >> 4);
        patiently(cancel, || Session::connect(server, &id, true)).await
    }

    /// Connects.
    ///
    /// # Errors
    /// Kind `Denied` for a login that is refused, `Unavailable`.
    pub(super) async fn connect(server: &Server, id: &str, clean: bool) -> Result<Session> {
        let login = server.login().await?;
        let wrong = |error| {
            Error::new(ErrorKind::Config, "the connection cannot be made of these settings")
                .because(error)
        };
        let mut options = MqttOptions::new(id, (server.host.clone(), server.port));
        options.set_keep_alive(30);
        options.set_max_packet_size(LARGEST, LARGEST);
        options.set_ack_mode(if clean { AckMode::Automatic } else { AckMode::Manual });
        options.try_set_clean_session(clean).map_err(wrong)?;
        match (&login.user, &login.password) {
            (Some(user), Some(password)) => {
                let password = password.expose().as_bytes().to_vec();
                options.set_credentials(user, password);
            }
            (Some(user), None) => {
                options.set_username(user);
            }
            (None, _) => {}
        }
        if server.tls {
            let tls = TlsConfiguration::Rustls(login.tls()?);
            options.set_transport(Transport::tls_with_config(tls));
        }
        Session::begin(server, options).await
    }

    async fn begin(server: &Server, options: MqttOptions) -> Result<Session> {
        let built = AsyncClient::builder(options).capacity(WAITING).try_build();
        let (client, mut events) = built.map_err(|error| {
            Error::new(ErrorKind::Config, "the connection cannot be made of these settings")
                .because(error)
        })?;
        events.network_options.set_connection_timeout(server.timeout.as_secs().max(1));
        let is_known = loop {
            match tokio::time::timeout(server.timeout, events.poll()).await {
                Ok(Ok(Event::Incoming(Packet::ConnAck(answer)))) => break answer.session_present,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(failure(error)),
                Err(_) => {
                    let message = "the broker does not answer within `timeout`";
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
            }
        };
        let (sender, came) = mpsc::channel(WAITING);
        let task = tokio::spawn(keep(events, sender));
        Ok(Session { client, task, came, is_known, timeout: server.timeout })
    }

    /// Subscribes, and returns when the broker has agreed.
    ///
    /// # Errors
    /// Kind `Denied`, where it does not; kind `Unsupported`, where it keeps nothing for a client that is away.
    pub(super) async fn subscribe(&self, topics: &[String], qos: QoS) -> Result<()> {
        for topic in topics {
            let filter = SubscribeFilter::new(topic.clone(), qos);
            let asked = self.client.subscribe_many_tracked([filter]).await.map_err(lost)?;
            let answer = tokio::time::timeout(self.timeout, asked.wait_async()).await;
            let answer = answer.map_err(lost)?.map_err(lost)?;
            for code in answer.return_codes {
                match code {
                    SubscribeReasonCode::Success(QoS::AtMostOnce) if qos != QoS::AtMostOnce => {
                        return Err(Error::new(
                            ErrorKind::Unsupported,
                            "the broker gives the topic with QoS 0 alone, and keeps no message for a client that is \
                             away",
                        )
                        .with("topic", topic));
                    }
                    SubscribeReasonCode::Success(_) => {}
                    SubscribeReasonCode::Failure => {
                        return Err(Error::new(
                            ErrorKind::Denied,
                            "the broker does not let us subscribe to the topic",
                        )
                        .with("topic", topic));
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes subscriptions back.
    pub(super) async fn unsubscribe(&self, topics: &[String]) -> Result<()> {
        for topic in topics {
            let asked = self.client.unsubscribe_tracked(topic.clone()).await.map_err(lost)?;
            let answer = tokio::time::timeout(self.timeout, asked.wait_async()).await;
            answer.map_err(lost)?.map_err(lost)?;
        }
        Ok(())
    }

    /// The next message, or none when none comes for this long.
    pub(super) async fn next(&mut self, idle: Duration) -> Result<Option<Publish>> {
        match tokio::time::timeout(idle, self.came.recv()).await {
            Err(_) => Ok(None),
            Ok(Some(message)) => message.map(Some),
            Ok(None) => Err(Error::new(ErrorKind::Unavailable, "the connection is lost")),
        }
    }

    /// What comes from now on is for the next connection.
    pub(super) fn stop_listening(&mut self) {
        self.came.close();
        while self.came.try_recv().is_ok() {}
    }

    /// Acknowledges messages, and returns when the broker has heard it.
    pub(super) async fn acknowledge(&self, packets: &[(u16, QoS)]) -> Result<()> {
        for (packet, qos) in packets {
            let answer = match qos {
                QoS::AtMostOnce => continue,
                QoS::AtLeastOnce => ManualAck::PubAck(PubAck::new(*packet)),
                QoS::ExactlyOnce => ManualAck::PubRec(PubRec::new(*packet)),
            };
            let told = tokio::time::timeout(self.timeout, self.client.manual_ack(answer)).await;
            told.map_err(lost)?.map_err(lost)?;
        }
        self.unsubscribe(&[NOBODYS.to_owned()]).await
    }

    /// Sends a message; the broker's word comes later.
    pub(super) async fn publish(
        &self,
        topic: String,
        body: Bytes,
        quality: QoS,
        retain: bool,
    ) -> Result<PublishNotice> {
        let options = PublishOptions::new(quality).retain(retain);
        let sent = self.client.publish_tracked(topic, body, options);
        let sent = tokio::time::timeout(self.timeout, sent).await;
        sent.map_err(lost)?.map_err(lost)
    }

    /// Waits for the broker's word that it has a message.
    pub(super) async fn heard(&self, notice: PublishNotice) -> Result<()> {
        let answer = tokio::time::timeout(self.timeout, notice.wait_completion_async()).await;
        answer.map_err(lost)?.map_err(lost)
    }

    /// Ends the connection.
    pub(super) async fn end(mut self) {
        self.stop_listening();
        if self.client.disconnect().await.is_ok() {
            let _ = tokio::time::timeout(END, &mut self.task).await;
        }
        self.task.abort();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps the connection alive until it ends.
async fn keep(mut events: EventLoop, sender: mpsc::Sender<Result<Publish>>) {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::Publish(message))) => {
                // Who listens no more gets it again.
                let _ = sender.send(Ok(message)).await;
            }
            Ok(_) => {}
            Err(ConnectionError::RequestsDone) => return,
            Err(error) => {
                let _ = sender.send(Err(failure(error))).await;
                return;
            }
        }
    }
}

fn lost(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unavailable, "the broker does not answer, or the connection is lost")
        .because(error)
}

/// An error of a connection as ours.
fn failure(error: ConnectionError) -> Error {
    let (kind, message) = match &error {
        ConnectionError::ConnectionRefused(code) => match code {
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
                (ErrorKind::Denied, "the broker does not accept the login (`user` and `password`)")
            }
            ConnectReturnCode::BadClientId => {
                (ErrorKind::Config, "the broker does not accept the `client_id`")
            }
            ConnectReturnCode::RefusedProtocolVersion => {
                (ErrorKind::Unsupported, "the broker does not speak MQTT 3.1.1")
            }
            _ => (ErrorKind::Unavailable, "the broker takes no connections now"),
        },
        ConnectionError::Tls(_) => {
            (ErrorKind::Unavailable, "no encrypted connection to the broker can be made")
        }
        _ => (ErrorKind::Unavailable, "the broker cannot be reached, or the connection is lost"),
    };
    Error::new(kind, message).because(error)
}
