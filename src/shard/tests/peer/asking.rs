//! What a peer says, at random: requests, publications, pings.

use super::super::dice::Dice;
use super::{Asked, Peer, Role, TOPICS, stream, subject, topic};
use crate::ws::frame::Opcode;

impl Peer {
    /// Says something at random.
    pub(in crate::shard::tests) fn speak(&mut self, dice: &mut Dice) {
        if dice.once_in(8) {
            return self.ping();
        }
        match self.role {
            Role::Subscriber => self.ask(dice),
            Role::PublisherOne(number) => {
                let (opcode, payload) = payload(dice, self.number, self.published.len());
                self.say(opcode, &payload);
                self.published.push((topic(number), payload));
            }
            Role::PublisherMany => {
                let (topic, (opcode, payload)) = (topic(dice.below(TOPICS)), payload(dice, self.number, self.published.len()));
                let message = match opcode {
                    Opcode::Binary => {
                        let len = (topic.len() as u16).to_be_bytes();
                        [&[1, 0][..], &len, topic.as_bytes(), &7u64.to_be_bytes(), &payload].concat()
                    }
                    _ if payload[0] == b'{' => {
                        let head = format!(r#"{{"stream":"{topic}","o":7,"data":"#);
                        [head.as_bytes(), &payload, b"}"].concat()
                    }
                    _ => return,
                };
                self.say(opcode, &message);
                self.published.push((topic, payload));
            }
        }
    }

    pub(in crate::shard::tests) fn ping(&mut self) {
        let payload = format!("ping {}", self.ids);
        self.ids += 1;
        self.say(Opcode::Ping, payload.as_bytes());
        self.pings.push_back(payload.into_bytes());
    }

    fn ask(&mut self, dice: &mut Dice) {
        let names = |dice: &mut Dice| -> Vec<String> { (0..1 + dice.below(3)).map(|_| subject(dice)).collect() };
        let quoted = |names: &[String]| names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(",");
        let (method, params, asked) = match dice.below(16) {
            0..=4 => {
                let streams: Vec<(String, bool)> = names(dice).into_iter().map(|name| (name, dice.once_in(3))).collect();
                let list: Vec<String> = streams.iter().map(|(topic, last)| stream(topic, *last)).collect();
                ("SUBSCRIBE", quoted(&list), Asked::Subscribe(streams))
            }
            5 | 6 => {
                let names = names(dice);
                ("UNSUBSCRIBE", quoted(&names), Asked::Unsubscribe(names))
            }
            7 => ("LIST_SUBSCRIPTIONS", String::new(), Asked::List),
            8 => ("POSITIONS", String::new(), Asked::Positions),
            9 => {
                let value = dice.once_in(2);
                ("SET_PROPERTY", format!("\"combined\",{value}"), Asked::SetCombined(value))
            }
            10 => ("GET_PROPERTY", "\"combined\"".into(), Asked::GetCombined),
            11 => ("PING", String::new(), Asked::Time),
            _ => {
                let payload = json(dice, self.number, self.published.len());
                let topic = topic(dice.below(TOPICS));
                let params = format!("{topic:?},{payload}");
                self.published.push((topic, payload.clone().into_bytes()));
                ("PUBLISH", params, Asked::Publish(payload.into_bytes()))
            }
        };
        self.ids += 1;
        let request = match params.is_empty() {
            true => format!(r#"{{"method":"{method}","id":{}}}"#, self.ids),
            false => format!(r#"{{"method":"{method}","params":[{params}],"id":{}}}"#, self.ids),
        };
        self.say(Opcode::Text, request.as_bytes());
        self.asked.push_back((self.ids, asked));
    }
}

fn json(dice: &mut Dice, publisher: usize, number: usize) -> String {
    let len = if dice.once_in(6) { dice.below(400) } else { dice.below(20) };
    format!(r#"{{"p":{publisher},"n":{number},"x":"{}"}}"#, "y".repeat(len))
}

/// A payload that nobody else sends.
pub(in crate::shard::tests) fn payload(dice: &mut Dice, publisher: usize, number: usize) -> (Opcode, Vec<u8>) {
    match dice.below(4) {
        0 => (Opcode::Binary, [&[0, publisher as u8][..], &number.to_be_bytes(), &vec![9; dice.below(150)]].concat()),
        1 => (Opcode::Text, format!("say \"{publisher}\"\n{number} {}", "z".repeat(dice.below(30))).into_bytes()),
        _ => (Opcode::Text, json(dice, publisher, number).into_bytes()),
    }
}
