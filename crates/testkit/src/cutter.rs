//! A way to a server on which connections break.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Passes connections on to a server of this machine, and breaks them when it is told to.
pub struct Cutter {
    port: u16,
    plan: Arc<Plan>,
}

#[derive(Default)]
struct Plan {
    /// How many bytes pass between two breaks.
    every: AtomicI64,
    /// How many are left until the next.
    left: AtomicI64,
    /// How many breaks are to come.
    times: AtomicUsize,
    done: AtomicUsize,
    connections: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

impl Plan {
    /// Counts what came; true when the connection is to break.
    fn breaks(&self, bytes: usize) -> bool {
        if self.times.load(Ordering::SeqCst) == 0 {
            return false;
        }
        if self.left.fetch_sub(bytes as i64, Ordering::SeqCst) > bytes as i64 {
            return false;
        }
        self.left.store(self.every.load(Ordering::SeqCst), Ordering::SeqCst);
        let left = self
            .times
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |times| times.checked_sub(1));
        if left.is_ok() {
            self.done.fetch_add(1, Ordering::SeqCst);
        }
        left.is_ok()
    }
}

impl Cutter {
    /// One before the server at this port.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn start(server: u16) -> Cutter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let plan = Arc::new(Plan::default());
        let shared = plan.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let ends = [&client, &upstream].map(|end| end.try_clone().unwrap());
                shared.open.lock().unwrap_or_else(PoisonError::into_inner).extend(ends);
                let (from, to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                std::thread::spawn(move || pass(from, to, None));
                let plan = shared.clone();
                std::thread::spawn(move || pass(upstream, client, Some(&plan)));
            }
        });
        Cutter { port, plan }
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on: whenever the server has sent so many bytes, the connection that they came by breaks, and
    /// this so often.
    pub fn cut_every(&self, bytes: u64, times: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.plan.every.store(bytes, Ordering::SeqCst);
        self.plan.left.store(bytes, Ordering::SeqCst);
        self.plan.done.store(0, Ordering::SeqCst);
        self.plan.times.store(times, Ordering::SeqCst);
    }

    /// How many connections broke since then.
    pub fn cuts(&self) -> usize {
        self.plan.done.load(Ordering::SeqCst)
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.plan.connections.load(Ordering::SeqCst)
    }

    /// Breaks all connections that there are.
    pub fn cut_all(&self) {
        for end in self.plan.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, plan: Option<&Plan>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length) = from.read(&mut buffer) {
        let cut = plan.is_some_and(|plan| plan.breaks(length));
        // Half of it arrives.
        let length = if cut { length / 2 } else { length };
        if to.write_all(&buffer[..length]).is_err() || length == 0 || cut {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
