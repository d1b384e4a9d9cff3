//! Questions of many callers in few commands: while some are under way, what arrives waits and then goes together. A lone one goes
//! at once.

use std::future::Future;
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use super::Error;

/// Commands under way at once: so many tasks are to run [`Gather::lane`].
pub(crate) const LANES: usize = 2;
/// Questions in one command: others wait behind it.
const TOGETHER: usize = 128;
/// About how many bytes a command's answer may have.
const BYTES: usize = 1 << 20;

/// Who can be asked several questions at once.
pub(crate) trait Asked: Sync {
    type Question: Send + Sync;
    type Answer: Send;

    /// One answer to each question, and about how many bytes they took.
    fn ask(
        &self,
        questions: &[Self::Question],
    ) -> impl Future<Output = Result<(Vec<Self::Answer>, usize), Error>> + Send;
}

/// The questions that wait for a command.
pub(crate) struct Gather<A: Asked> {
    sender: mpsc::Sender<Waiting<A>>,
    receiver: Mutex<mpsc::Receiver<Waiting<A>>>,
    /// Commands under way.
    busy: AtomicUsize,
}

type Reply<A> = oneshot::Sender<Result<<A as Asked>::Answer, Error>>;

struct Waiting<A: Asked> {
    question: A::Question,
    reply: Reply<A>,
}

/// Counts a command as long as it is under way, dropped or not.
struct Busy<'a>(&'a AtomicUsize);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl<A: Asked> Gather<A> {
    /// At most so many questions wait; more are refused.
    pub(crate) fn new(waiting: usize) -> Self {
        let (sender, receiver) = mpsc::channel(waiting);
        Gather { sender, receiver: Mutex::new(receiver), busy: AtomicUsize::new(0) }
    }

    /// The answer to a question, alone or together with others.
    pub(crate) async fn ask(&self, asked: &A, question: A::Question) -> Result<A::Answer, Error> {
        // Nobody to go together with: without the way through a lane and back.
        if self.busy.compare_exchange(0, 1, Relaxed, Relaxed).is_ok() {
            let _busy = Busy(&self.busy);
            let (mut answers, _) = asked.ask(slice::from_ref(&question)).await?;
            return answers.pop().ok_or(Error::Down);
        }
        let (reply, answer) = oneshot::channel();
        self.sender.try_send(Waiting { question, reply }).map_err(|_| Error::Refused)?;
        answer.await.unwrap_or(Err(Error::Down))
    }

    /// One lane: takes what waits, asks for at most `patience`, hands out the answers. For ever.
    pub(crate) async fn lane(&self, asked: &A, patience: Duration) {
        let mut waiting: Vec<Waiting<A>> = Vec::with_capacity(TOGETHER);
        let (mut questions, mut replies) = (Vec::with_capacity(TOGETHER), Vec::with_capacity(TOGETHER));
        let mut together = TOGETHER;
        loop {
            {
                let mut receiver = self.receiver.lock().await;
                if receiver.recv_many(&mut waiting, together).await == 0 {
                    return;
                }
                if waiting.len() < together {
                    // Callers that are ready to run get to ask first; a lone one loses nothing by it.
                    tokio::task::yield_now().await;
                    while waiting.len() < together
                        && let Ok(one) = receiver.try_recv()
                    {
                        waiting.push(one);
                    }
                }
            }
            // Of those who have not given up.
            for Waiting { question, reply } in waiting.drain(..).filter(|one| !one.reply.is_closed()) {
                questions.push(question);
                replies.push(reply);
            }
            if questions.is_empty() {
                continue;
            }
            self.busy.fetch_add(1, Relaxed);
            let _busy = Busy(&self.busy);
            match timeout(patience, asked.ask(&questions)).await.unwrap_or(Err(Error::TimedOut)) {
                Ok((answers, bytes)) => {
                    together = (BYTES / (bytes / questions.len()).max(1)).clamp(1, TOGETHER);
                    replies.drain(..).zip(answers).for_each(|(reply, answer)| drop(reply.send(Ok(answer))));
                }
                Err(error) => replies.drain(..).for_each(|reply| drop(reply.send(Err(error.clone())))),
            }
            questions.clear();
        }
    }
}
