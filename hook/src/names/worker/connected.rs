//! Connections of containers, and of people and programs of the host.

use std::os::fd::AsFd;

use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::unistd::getppid;
use serde_json::Value;

use super::{About, Outcome, Worker};
use crate::clients::{Connection, Sent};
use crate::control::{self, Line};
use crate::link::Told;
use crate::slots::Ticket;
use crate::upstream::Client;
use crate::wire::LONGEST;

/// How many connections are accepted before others get their turn.
const AT_ONCE: usize = 16;

/// How many programs of the host are connected at once.
const HOSTS: usize = 32;

impl Worker<'_> {
    pub(super) fn accept(&mut self, place: usize) {
        let Some(listener) = self.sockets.tcp.get(place).filter(|_| self.ends.is_none()) else { return };
        for _ in 0..AT_ONCE {
            let Ok((stream, client)) = listener.accept() else { return };
            let source = client.ip();
            // A container that was attached before it connected is known. Who is none holds no turn.
            self.look();
            if self.source.directory().at(source).is_none() || !self.turns.take(source) {
                continue;
            }
            match Connection::of_container(stream, source) {
                Ok(connection) => self.connect(connection),
                Err(_) => self.turns.give_back(source),
            }
        }
    }

    pub(super) fn accept_host(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let hosts = self.connections.iter().filter(|(_, one)| one.source().is_none()).count();
            if hosts < HOSTS
                && let Ok(connection) = Connection::of_host(stream)
            {
                self.connect(connection);
            }
        }
    }

    pub(super) fn connect(&mut self, connection: Connection) {
        self.next_look = self.next_look.min(connection.deadline);
        let ticket = self.connections.put(connection);
        let Some(connection) = self.connections.get(ticket) else { return };
        let event = EpollEvent::new(EpollFlags::EPOLLIN, About::Connection.token(ticket.place));
        if self.epoll.add(connection.as_fd(), event).is_err() {
            self.close(ticket);
        }
    }

    /// What it asked of another server is still waited for, and has the connection's turn.
    pub(super) fn close(&mut self, ticket: Ticket) {
        let Some(source) = self.connections.take(ticket).and_then(|connection| connection.source()) else { return };
        if !self.asked.iter().any(|(_, asked)| asked.client.is_at(ticket)) {
            self.turns.give_back(source);
        }
    }

    /// Answers what has come by a connection, and says of what it is waited for.
    pub(super) fn serve(&mut self, ticket: Ticket) {
        loop {
            let Some(connection) = self.connections.get(ticket) else { return };
            let goes_on = match connection.next() {
                Ok(None) => break,
                Ok(Some(Sent::Question(question))) => self.answer_on(ticket, question),
                Ok(Some(Sent::Line(line))) => self.answer_host(ticket, &line),
                Err(()) => false,
            };
            if !goes_on {
                return self.close(ticket);
            }
        }
        let Some(connection) = self.connections.get(ticket) else { return };
        let (reads, writes) = connection.interest();
        let flags = [(reads, EpollFlags::EPOLLIN), (writes, EpollFlags::EPOLLOUT)];
        let flags = flags.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, flag)| flag).collect();
        let _ =
            self.epoll.modify(connection.as_fd(), &mut EpollEvent::new(flags, About::Connection.token(ticket.place)));
    }

    /// False where the connection is at its end.
    pub(super) fn answer_on(&mut self, ticket: Ticket, question: Vec<u8>) -> bool {
        let Some(source) = self.connections.get(ticket).and_then(|connection| connection.source()) else {
            return false;
        };
        match self.outcome(&question, source, |_| LONGEST) {
            Outcome::Answer(answer) => self.connections.get(ticket).is_some_and(|one| one.answer(&answer)),
            Outcome::Ask(servers) => {
                if let Some(connection) = self.connections.get(ticket) {
                    connection.waits = true;
                }
                self.ask(question, Client::Tcp(ticket, source), servers);
                self.connections.get(ticket).is_some()
            }
            Outcome::Nothing => false,
        }
    }

    pub(super) fn answer_host(&mut self, ticket: Ticket, line: &str) -> bool {
        self.look();
        let supervisor = getppid().as_raw();
        let answer = match control::read(line, self.source.directory(), self.confined, supervisor) {
            Line::Answer(answer) => answer,
            Line::Replace => {
                self.tell.tell(&Told::Replace);
                Value::Bool(true)
            }
            Line::Unknown => return false,
        };
        self.connections.get(ticket).is_some_and(|connection| connection.answer(format!("{answer}\n").as_bytes()))
    }
}
