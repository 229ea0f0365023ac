// One stream for all tabs with the same key. One tab, the leader, holds the connection and passes events to the others.
// Each tab keeps the last id that it has received, so that the next leader resumes from its own position.

import type { Credentials } from '../credentials.js';
import type { BroadcastChannelLike, Environment, Locks } from '../environment.js';
import { isAfter } from '../event-id.js';
import type { Settings } from '../options.js';
import type { Source, SourceSink } from '../source.js';
import { IDLE, type StreamStatus } from '../status.js';
import { Stream } from '../stream.js';
import { Timer } from '../timer.js';
import type { RawEvent } from '../transport/transport.js';
import { Election } from './election.js';
import { isFromLeader, type FromFollower, type FromLeader, type TabMessage } from './protocol.js';

/** After this time without a message, the leader is asked whether it is still there. */
const PROBE_AFTER_MS = 10_000;
/** If it does not answer within this time, it is frozen or hangs, and this tab takes its lock. */
const ANSWER_WITHIN_MS = 3_000;

/** The last message of a leader, such as a forced log-out, may arrive after its lock is free. */
const LAST_WORDS_MS = 50;

/** Leaders' ids are random numbers below this. They only have to differ between tabs. */
const LEADER_ID_RANGE = 2 ** 48;

export class SharedSource implements Source {
  readonly #name: string;
  readonly #environment: Environment;
  readonly #sink: SourceSink;
  readonly #stream: Stream;
  readonly #election: Election;
  readonly #probe: Timer;
  readonly #lastWords: Timer;
  readonly #id: string;
  /** The names of the events that other tabs listen to, while this one leads. */
  readonly #names = new Set<string>();
  #channel: BroadcastChannelLike | null = null;
  #leading = false;
  /** The leader that this tab follows. */
  #leader: string | null = null;
  /** The id after which this tab has missed events, until the leader's stream has gone back there. */
  #missing: string | null = null;

  constructor(name: string, settings: Settings, locks: Locks, credentials: Credentials, sink: SourceSink) {
    this.#name = name;
    this.#environment = settings.environment;
    this.#sink = sink;
    this.#id = Math.floor(settings.environment.random() * LEADER_ID_RANGE).toString(36);
    this.#probe = new Timer(settings.environment);
    this.#lastWords = new Timer(settings.environment);
    this.#election = new Election(locks, name, {
      elected: () => { this.#elected(); },
      deposed: () => { this.#follow(); },
      failed: () => { sink.cannotShare(); },
    });
    this.#stream = new Stream(settings, credentials, {
      status: (status) => { this.#streamStatus(status); },
      event: (event, from) => {
        this.#tell({ kind: 'event', leader: this.#id, event, from });
        sink.event(event);
      },
      error: (error) => {
        this.#tell({ kind: 'error', leader: this.#id, error });
        sink.error(error);
      },
      names: () => new Set([...this.#names, ...sink.names()]),
    });
  }

  start(): void {
    if (this.#channel !== null || this.#environment.BroadcastChannel === undefined) return;
    this.#channel = new this.#environment.BroadcastChannel(this.#name);
    this.#channel.addEventListener('message', ({ data }) => { this.#heard(data as TabMessage); });
    this.#show({ ...IDLE, state: 'connecting' });
    this.#follow();
  }

  stop(): void {
    if (this.#channel === null) return;
    this.#leading = false;
    this.#leader = null;
    this.#probe.clear();
    this.#lastWords.clear();
    this.#stream.stop();
    // Only now, because the next leader needs the place that this stream had in the user's limit.
    this.#election.withdraw();
    this.#channel.close();
    this.#channel = null;
  }

  reconnect(): void {
    if (this.#leading) this.#stream.reconnect();
    else if (this.#election.isCandidate) this.#ask({ kind: 'reconnect' });
    else this.#follow();
  }

  check(): void {
    if (this.#leading) this.#stream.check();
    else if (this.#leader !== null) this.#askWhetherThere();
    this.#ask({ kind: 'check' });
  }

  listen(name: string): void {
    if (this.#leading) this.#stream.listen(name);
    else this.#ask({ kind: 'names', names: [name] });
  }

  tokenChanged(): void {
    if (this.#leading) this.#stream.tokenChanged();
    else if (this.#channel !== null && !this.#election.isCandidate) this.#follow();
  }

  #elected(): void {
    if (this.#leader === null) this.#lead();
    else this.#lastWords.set(LAST_WORDS_MS, () => { this.#lead(); });
  }

  #lead(): void {
    this.#leading = true;
    this.#leader = null;
    this.#probe.clear();
    this.#stream.start(this.#sink.lastEventId());
    this.#introduce();
  }

  /** Follows the leader, and waits to become the next one. */
  #follow(): void {
    this.#lastWords.clear();
    if (this.#leading) {
      this.#leading = false;
      this.#stream.stop();
    }
    this.#election.stand();
    this.#ask({ kind: 'hello' });
    this.#expectLeader();
  }

  #heard(message: TabMessage): void {
    if (isFromLeader(message)) this.#heardLeader(message);
    else if (this.#leading) this.#answer(message);
  }

  #heardLeader(message: FromLeader): void {
    // Another tab took this one's lock while it was frozen. The lock manager has not told it yet.
    if (this.#leading) return;
    if (this.#leader === null && !this.#election.isCandidate) {
      // This tab has resigned, because its token was refused. Only an open stream shows that another tab's is better.
      if (!('status' in message) || message.status.state !== 'open') return;
      if (message.kind === 'status') this.#ask({ kind: 'hello' });
    }
    if (message.kind === 'leading' && message.leader !== this.#leader) this.#join(message.leader, message.position);
    if (message.leader !== this.#leader) return;
    this.#expectLeader();
    switch (message.kind) {
      case 'leading':
      case 'status':
        this.#show(message.status);
        break;
      case 'event':
        this.#heardEvent(message.event, message.from);
        break;
      case 'error':
        this.#sink.error(message.error);
        break;
    }
  }

  // The connection that goes back will deliver the events of the old connection again. If this tab accepted them now,
  // their ids would make the missed events look old.
  #heardEvent(event: RawEvent, from: string | null | undefined): void {
    if (this.#missing !== null && from !== null && (from === undefined || !isAfter(from, this.#missing))) this.#missing = null;
    if (this.#missing === null || event.id === undefined) this.#sink.event(event);
  }

  /** A new leader resumes from its own position and does not know this tab's. */
  #join(leader: string, position: string | null): void {
    this.#leader = leader;
    this.#ask({ kind: 'names', names: [...this.#sink.names()] });
    const seen = this.#sink.lastEventId();
    this.#missing = null;
    if (seen === null) {
      this.#sink.joined(position);
    } else if (position === null || isAfter(position, seen)) {
      // The leader will send the events after `position`, but not those between `seen` and `position`.
      this.#missing = seen;
      this.#ask({ kind: 'rewind', lastEventId: seen });
    }
  }

  #answer(message: FromFollower): void {
    switch (message.kind) {
      case 'hello':
      case 'probe':
        this.#introduce();
        break;
      case 'rewind':
        this.#stream.rewind(message.lastEventId);
        break;
      case 'names':
        this.#hear(message.names);
        break;
      case 'reconnect':
        this.#stream.reconnect();
        break;
      case 'check':
        this.#stream.check();
        break;
    }
  }

  #introduce(): void {
    const { status, position } = this.#stream;
    this.#tell({ kind: 'leading', leader: this.#id, status, position });
  }

  #hear(names: readonly string[]): void {
    for (const name of names) {
      this.#names.add(name);
      this.#stream.listen(name);
    }
  }

  #streamStatus(status: StreamStatus): void {
    // When a tab stops leading, its stream reports `idle`. That is not the status of the shared stream.
    if (!this.#leading) return;
    // The other tabs first, because this one leaves at a forced log-out.
    if (status.state !== 'unauthorized') this.#tell({ kind: 'status', leader: this.#id, status });
    this.#show(status);
    if (status.state === 'unauthorized') this.#resign();
  }

  /** Another tab may have a better token. This one follows it, but is no candidate until it has another token, too. */
  #resign(): void {
    this.#leading = false;
    this.#stream.stop();
    this.#election.withdraw();
  }

  #expectLeader(): void {
    this.#probe.set(PROBE_AFTER_MS, () => { this.#askWhetherThere(); });
  }

  // The leader is asked and does not report by itself: a hidden page's timers hardly run, but it answers messages.
  #askWhetherThere(): void {
    const asked = this.#environment.now();
    this.#ask({ kind: 'probe' });
    this.#probe.set(ANSWER_WITHIN_MS, () => {
      // If this timer is far too late, this page was asleep itself, and the answer may be waiting.
      if (this.#environment.now() - asked > 2 * ANSWER_WITHIN_MS) this.#askWhetherThere();
      else this.#takeLead();
    });
  }

  #takeLead(): void {
    this.#election.stand(true);
    // In case the lock does not come. `#lead` clears the timer.
    this.#expectLeader();
  }

  #show(status: StreamStatus): void {
    this.#sink.status({ ...status, shared: true, leader: this.#leading });
  }

  #tell(message: FromLeader): void {
    if (this.#leading) this.#channel?.postMessage(message);
  }

  #ask(message: FromFollower): void {
    if (!this.#leading) this.#channel?.postMessage(message);
  }
}
