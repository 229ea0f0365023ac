// One stream for all tabs with the same key. The leader holds the connection and tells the others what comes; every
// tab keeps the last id it has seen, so that whoever leads next goes on where it is itself.

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

/** A leader that was not heard for this long is asked whether it is there. */
const PROBE_AFTER_MS = 10_000;
/** One that has not answered by then is frozen or hung, and its lock is taken. */
const ANSWER_WITHIN_MS = 3_000;

/** What a leader said last (a forced log-out!) may still be under way when its lock is passed on. */
const LAST_WORDS_MS = 50;

/** Tells leaders apart; only has to differ from those of the other tabs. */
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
  /** Of all tabs, while this one leads. */
  readonly #names = new Set<string>();
  #channel: BroadcastChannelLike | null = null;
  #leading = false;
  /** Whom this tab follows. */
  #leader: string | null = null;
  /** The id after which this tab has missed something, until the leader's stream has gone back there. */
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
    // After the stream has stopped: the next leader must find the place free.
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

  /** Listens to the leader, and waits to be the next one. */
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
    // Two leaders: this one was frozen and its lock taken; the news of that is under way.
    if (this.#leading) return;
    if (this.#leader === null && !this.#election.isCandidate) {
      // This tab has resigned. Attempts that may end as its own did are no news; a stream that is open is.
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

  // What comes by the old connection is still to come by the one that goes back; heard here and now, its id would make
  // what was missed before it look like old news.
  #heardEvent(event: RawEvent, from: string | null | undefined): void {
    if (this.#missing !== null && from !== null && (from === undefined || !isAfter(from, this.#missing))) this.#missing = null;
    if (this.#missing === null || event.id === undefined) this.#sink.event(event);
  }

  /** A new leader goes on from where it was itself, and knows nothing of this tab. */
  #join(leader: string, position: string | null): void {
    this.#leader = leader;
    this.#ask({ kind: 'names', names: [...this.#sink.names()] });
    const seen = this.#sink.lastEventId();
    this.#missing = null;
    if (seen === null) {
      this.#sink.joined(position);
    } else if (position === null || isAfter(position, seen)) {
      // What comes after `position` is still to be heard here; what lies between is not.
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
    // The stream of a tab that has just stopped leading says `idle`; that is nobody's status.
    if (!this.#leading) return;
    // The others first: hearing of a forced log-out, this tab leaves.
    if (status.state !== 'unauthorized') this.#tell({ kind: 'status', leader: this.#id, status });
    this.#show(status);
    if (status.state === 'unauthorized') this.#resign();
  }

  /** Another tab may have a better token. This one listens, but does not stand until it has one, too. */
  #resign(): void {
    this.#leading = false;
    this.#stream.stop();
    this.#election.withdraw();
  }

  #expectLeader(): void {
    this.#probe.set(PROBE_AFTER_MS, () => { this.#askWhetherThere(); });
  }

  // A question rather than a pulse: timers of a hidden page hardly run, but it answers messages as long as it is alive.
  #askWhetherThere(): void {
    const asked = this.#environment.now();
    this.#ask({ kind: 'probe' });
    this.#probe.set(ANSWER_WITHIN_MS, () => {
      // A timer that is far too late says that this page was asleep itself, with the answer perhaps still unread.
      if (this.#environment.now() - asked > 2 * ANSWER_WITHIN_MS) this.#askWhetherThere();
      else this.#takeLead();
    });
  }

  #takeLead(): void {
    this.#election.stand(true);
    // Until the lock is here; `#lead` ends the waiting.
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
