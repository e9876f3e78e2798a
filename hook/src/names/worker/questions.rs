//! Questions as they come: over UDP, and what is done with one whichever way it came.

use std::net::IpAddr;

use super::{Outcome, Worker};
use crate::answer::{Kind, Verdict, decide};
use crate::upstream::{Client, Server};
use crate::wire;

/// How many datagrams of one socket are answered before the others get their turn.
const AT_ONCE: usize = 16;

/// The longest question over UDP that is read.
const QUESTION: usize = 4096;

impl Worker<'_> {
    pub(super) fn answer_datagrams(&mut self, place: usize) {
        let Some(socket) = self.sockets.udp.get(place) else { return };
        let mut buffer = [0; QUESTION];
        for _ in 0..AT_ONCE {
            if self.ends.is_some() {
                return;
            }
            // A question by which the last worker failed would have this one fail as well, and the next.
            let is_cautious = std::mem::replace(&mut self.is_cautious[place], false);
            let taken = if is_cautious { socket.recv_from(&mut buffer) } else { socket.peek_from(&mut buffer) };
            let Ok((length, client)) = taken else { return };
            match self.outcome(&buffer[..length], client.ip(), |question| question.room_over_udp()) {
                // A client that cannot be reached asks again.
                Outcome::Answer(answer) => drop(socket.send_to(&answer, client)),
                Outcome::Ask(servers) => self.ask(buffer[..length].to_vec(), Client::Udp(place, client), servers),
                Outcome::Nothing => {}
            }
            if !is_cautious {
                let _ = socket.recv_from(&mut [0; 0]);
            }
        }
    }

    /// What is to be done with a question from `source`, whose answer has the `room` that it says.
    pub(super) fn outcome(&mut self, bytes: &[u8], source: IpAddr, room: fn(&wire::Question<'_>) -> usize) -> Outcome {
        // A container that was attached before it asked is known.
        self.look();
        if self.source.directory().at(source).is_none() {
            return Outcome::Nothing;
        }
        let question = match wire::read(bytes) {
            wire::Read::Question(question) => question,
            wire::Read::Refuse(answer) => return Outcome::Answer(answer),
            wire::Read::Ignore => return Outcome::Nothing,
        };
        // Resolvers ask for both families, one after the other.
        let answers = &mut self.answers[usize::from(question.kind == Kind::Aaaa)];
        *answers = answers.wrapping_add(1);
        let first = *answers;
        match decide(self.source.directory(), source, &question.name, question.kind) {
            Verdict::Ask(chosen) => Outcome::Ask(self.servers(&chosen)),
            verdict => question.answer(&verdict, first, room(&question)).map_or(Outcome::Nothing, Outcome::Answer),
        }
    }

    /// The servers that are asked: those that were `chosen` for the container, or else the host's.
    pub(super) fn servers(&self, chosen: &[IpAddr]) -> Vec<Server> {
        if chosen.is_empty() {
            let hosts = if self.hosts.is_empty() { &self.fallback } else { &self.hosts };
            let of_host = hosts.iter().filter(|server| !ocinet::driver::NAME_SERVERS.contains(server));
            return of_host.map(|address| Server { address: *address, must_be_elsewhere: false }).collect();
        }
        // The gateway of the container's own network is an address of the host.
        let is_ours = |address: IpAddr| self.source.directory().is_ours(address.to_canonical());
        let of_chosen = |address: &IpAddr| Server { address: *address, must_be_elsewhere: !is_ours(*address) };
        chosen.iter().map(of_chosen).collect()
    }
}
