//! Questions that wait for the answer of another server.

use std::os::fd::AsFd;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::{About, Worker};
use crate::slots::Ticket;
use crate::upstream::{Asked, Client, Progress, Server};
use crate::wire;

impl Worker<'_> {
    pub(super) fn ask(&mut self, question: Vec<u8>, client: Client, servers: Vec<Server>) {
        let source = client.source();
        let is_new = matches!(client, Client::Udp(..));
        // A connection has its turn already. The client asks again, as where the answer was lost.
        if is_new && !self.turns.take(source) {
            return;
        }
        let Some(asked) = Asked::ask(question.clone(), client, servers) else {
            if is_new {
                self.turns.give_back(source);
            }
            return self.answer_failure(&question, client);
        };
        self.next_look = self.next_look.min(asked.deadline);
        let ticket = self.asked.put(asked);
        if self.wait_for_server(ticket).is_err() {
            self.forget(ticket);
            self.answer_failure(&question, client);
        }
    }

    pub(super) fn wait_for_server(&mut self, ticket: Ticket) -> nix::Result<()> {
        let Some(asked) = self.asked.get(ticket) else { return Ok(()) };
        let sends = if asked.has_to_send() { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
        let event = EpollEvent::new(EpollFlags::EPOLLIN | sends, About::Asked.token(ticket.place));
        self.epoll.add(asked.as_fd(), event)
    }

    pub(super) fn go_on(&mut self, ticket: Ticket, progress: Progress) {
        match progress {
            Progress::Waits => {
                let Some(asked) = self.asked.get(ticket) else { return };
                if !asked.has_to_send() {
                    let mut event = EpollEvent::new(EpollFlags::EPOLLIN, About::Asked.token(ticket.place));
                    let _ = self.epoll.modify(asked.as_fd(), &mut event);
                }
            }
            Progress::Moved => {
                if let Some(asked) = self.asked.get(ticket) {
                    self.next_look = self.next_look.min(asked.deadline);
                }
                if self.wait_for_server(ticket).is_err() {
                    self.go_on(ticket, Progress::Failed);
                }
            }
            Progress::Answered(answer) => {
                if let Some(asked) = self.forget(ticket) {
                    self.give(&answer, asked.client);
                }
            }
            Progress::Failed => {
                if let Some(asked) = self.forget(ticket) {
                    self.answer_failure(&asked.question, asked.client);
                }
            }
        }
    }

    pub(super) fn forget(&mut self, ticket: Ticket) -> Option<Asked> {
        let asked = self.asked.take(ticket)?;
        match asked.client {
            Client::Udp(_, client) => self.turns.give_back(client.ip()),
            Client::Tcp(ticket, source) if self.connections.get(ticket).is_none() => self.turns.give_back(source),
            Client::Tcp(..) => {}
        }
        Some(asked)
    }

    pub(super) fn answer_failure(&mut self, question: &[u8], client: Client) {
        let failure = match wire::read(question) {
            wire::Read::Question(question) => question.failure(),
            _ => None,
        };
        match (failure, client) {
            (Some(failure), _) => self.give(&failure, client),
            (None, Client::Tcp(ticket, _)) => self.close(ticket),
            (None, Client::Udp(..)) => {}
        }
    }

    pub(super) fn give(&mut self, answer: &[u8], client: Client) {
        match client {
            Client::Udp(place, address) => {
                if let Some(socket) = self.sockets.udp.get(place) {
                    let _ = socket.send_to(answer, address);
                }
            }
            Client::Tcp(ticket, _) => {
                let Some(connection) = self.connections.get(ticket) else { return };
                if connection.answer(answer) { self.serve(ticket) } else { self.close(ticket) }
            }
        }
    }
}
