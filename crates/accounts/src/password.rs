//! Passwords: argon2id on threads of its own.
//!
//! Hashing is made to be slow and to take memory, so it never runs where requests are answered: a few threads, a
//! bounded queue, and a refusal when that is full. What all of them together may use is threads × memory.

use std::sync::{
    Arc, OnceLock,
    mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use base::{Error, Reply};
use std::sync::{Mutex, PoisonError};
use tokio::sync::oneshot;

/// The longest password. argon2 would take gigabytes; nobody types them.
pub const PASSWORD_BYTES_MAX: usize = 1_024;
/// Hashes that may wait: at 20 ms each and two threads, the last one waits for under a second.
const QUEUE_MAX: usize = 64;
/// When to come back if the queue is full.
const RETRY_AFTER_MS: u64 = 1_000;
/// More threads than this would only compete for memory bandwidth.
const THREADS_MAX: usize = 4;

/// What one hash costs whoever computes it: us, and a thief of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Cost {
    /// The recommendation of the OWASP Password Storage Cheat Sheet for argon2id: 19 MiB, two passes, one lane.
    pub const OWASP: Cost = Cost { memory_kib: 19 * 1024, passes: 2, lanes: 1 };
    /// The least that argon2 knows. For tests only: it protects nothing.
    pub const CHEAP: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };
}

type Job = Box<dyn FnOnce() + Send>;

/// Hashes and verifies passwords on its own bounded pool. Cheap to clone; the threads end with the last clone.
#[derive(Clone)]
pub struct Hasher {
    argon: Argon2<'static>,
    queue: SyncSender<Job>,
    decoy: Arc<OnceLock<String>>,
}

impl Hasher {
    /// Starts the threads: one for each core, at most four.
    ///
    /// # Errors
    /// A fault if a thread cannot be started or `cost` is none that argon2 knows.
    pub fn start(cost: Cost) -> Reply<Hasher> {
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, None)
            .map_err(|e| Error::fault(format!("argon2 parameters: {e}")))?;
        let (queue, jobs) = sync_channel::<Job>(QUEUE_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores.min(THREADS_MAX) {
            let jobs = jobs.clone();
            std::thread::Builder::new()
                .name("argon2".into())
                .spawn(move || work(&jobs))
                .map_err(|e| Error::fault(format!("cannot start a thread: {e}")))?;
        }
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        Ok(Hasher { argon, queue, decoy: Arc::default() })
    }

    /// Hashes a password into PHC text, with a fresh salt.
    ///
    /// # Errors
    /// 400 `M_WEAK_PASSWORD` for an empty one, 400 `M_INVALID_PARAM` over [`PASSWORD_BYTES_MAX`], 429 if too many wait.
    pub async fn hash(&self, password: String) -> Reply<String> {
        check(&password)?;
        let argon = self.argon.clone();
        self.run(move || hash(&argon, &password)).await
    }

    /// Is this the password behind `phc`? Without `phc` (no such user, no password) it takes as long and says no.
    ///
    /// # Errors
    /// 429 if too many wait; a fault if `phc` is none.
    pub async fn verify(&self, password: String, phc: Option<String>) -> Reply<bool> {
        let (argon, decoy) = (self.argon.clone(), self.decoy.clone());
        self.run(move || {
            let known = phc.is_some();
            let phc = match phc {
                Some(phc) => phc,
                None => decoy_of(&argon, &decoy)?,
            };
            // A password that can be no one's costs no more than one that is wrong.
            Ok(verify(&argon, &password, &phc)? && known)
        })
        .await
    }

    /// [`Hasher::hash`] on this thread, for commands.
    ///
    /// # Errors
    /// As [`Hasher::hash`], without 429.
    pub fn hash_here(&self, password: &str) -> Reply<String> {
        check(password)?;
        hash(&self.argon, password)
    }

    async fn run<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> Reply<T> + Send + 'static,
    ) -> Reply<T> {
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move || {
            // A request that was given up is not worth the memory.
            if !tell.is_closed() {
                let _ = tell.send(f());
            }
        });
        match self.queue.try_send(job) {
            Ok(()) => told.await.unwrap_or_else(|_| Err(Error::fault("a hash was dropped"))),
            Err(TrySendError::Full(_)) => {
                let mut busy = Error::refusal(
                    429,
                    "M_LIMIT_EXCEEDED",
                    "Too many logins at once. Try again soon.",
                );
                busy.retry_after_ms = Some(RETRY_AFTER_MS);
                Err(busy.into())
            }
            Err(TrySendError::Disconnected(_)) => Err(Error::fault("the hashing threads are gone")),
        }
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        // A panic of another thread leaves the receiver as it was.
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            // A bug in one job must not end the thread for all.
            Ok(job) => drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job))),
            Err(_) => return,
        }
    }
}

fn check(password: &str) -> Reply<()> {
    match password.len() {
        0 => Err(Error::refused(400, "M_WEAK_PASSWORD", "A password must not be empty.")),
        1..=PASSWORD_BYTES_MAX => Ok(()),
        _ => Err(Error::invalid_param(format!(
            "A password may have at most {PASSWORD_BYTES_MAX} bytes."
        ))),
    }
}

fn hash(argon: &Argon2<'_>, password: &str) -> Reply<String> {
    let phc: PasswordHash = argon
        .hash_password(password.as_bytes())
        .map_err(|e| Error::fault(format!("argon2: {e}")))?;
    Ok(phc.to_string())
}

fn verify(argon: &Argon2<'_>, password: &str, phc: &str) -> Reply<bool> {
    let phc = PasswordHash::new(phc).map_err(|e| Error::fault(format!("stored password: {e}")))?;
    let password = password.as_bytes();
    let password = password.get(..PASSWORD_BYTES_MAX + 1).unwrap_or(password);
    Ok(argon.verify_password(password, &phc).is_ok())
}

fn decoy_of(argon: &Argon2<'_>, decoy: &OnceLock<String>) -> Reply<String> {
    if let Some(phc) = decoy.get() {
        return Ok(phc.clone());
    }
    let phc = hash(argon, "decoy")?;
    Ok(decoy.get_or_init(|| phc).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_is_right() {
        let hasher = Hasher::start(Cost::CHEAP).unwrap();
        let phc = hasher.hash("secret".into()).await.unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{phc}");
        assert!(hasher.verify("secret".into(), Some(phc.clone())).await.unwrap());
        assert!(!hasher.verify("Secret".into(), Some(phc)).await.unwrap());
        // Not even by the decoy's own password.
        assert!(!hasher.verify("decoy".into(), None).await.unwrap());
    }

    #[tokio::test]
    async fn the_same_password_has_another_hash_each_time() {
        let hasher = Hasher::start(Cost::CHEAP).unwrap();
        let one = hasher.hash("secret".into()).await.unwrap();
        assert_ne!(one, hasher.hash_here("secret").unwrap());
    }

    #[tokio::test]
    async fn empty_and_endless_passwords_are_refused() {
        let hasher = Hasher::start(Cost::CHEAP).unwrap();
        assert!(
            matches!(hasher.hash(String::new()).await, Err(Error::Refused(r)) if r.errcode == "M_WEAK_PASSWORD")
        );
        let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
        assert!(
            matches!(hasher.hash(long).await, Err(Error::Refused(r)) if r.errcode == "M_INVALID_PARAM")
        );
    }

    #[tokio::test]
    async fn a_full_queue_refuses_instead_of_growing() {
        let (queue, jobs) = sync_channel::<Job>(1);
        let params = Params::new(8, 1, 1, None).unwrap();
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hasher = Hasher { argon, queue, decoy: Arc::default() };
        hasher.queue.try_send(Box::new(|| {})).unwrap();
        let refused = hasher.hash("secret".into()).await;
        assert!(
            matches!(refused, Err(Error::Refused(r)) if r.status == 429 && r.retry_after_ms.is_some())
        );
        drop(jobs);
    }
}
