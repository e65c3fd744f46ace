/* Keeps the store up to date: a WebSocket where one can be had, asking every few seconds where not. Nothing here gives up. */
import { getAnalysis, getInfo, getStatus, getTicket, listAnalyses } from "../api/client";
import { toProblem } from "../api/problem";
import type { LiveMessage } from "../api/types";
import { listLoaded, polled, progressed, received, removed } from "../store/analyses";
import { infoLoaded, modeChanged, type Mode } from "../store/connection";
import type { AppDispatch, RootState } from "../store/store";
import { backoffMs } from "./backoff";

const LIST_LIMIT = 50;
const POLL_MS = 2500;
const MAX_POLLED = 8;
/* No welcome for this long: the line is no good. */
const WELCOME_MS = 8000;

export interface StoreLike {
  dispatch: AppDispatch;
  getState: () => RootState;
}

export function handleMessage(message: LiveMessage, dispatch: AppDispatch): void {
  if (message.type === "analysis") dispatch(received({ items: [message.analysis], eventId: message.event_id }));
  else if (message.type === "deleted") dispatch(removed(message.analysis_id));
  else if (message.type === "progress") dispatch(progressed({ id: message.analysis_id, progress: message.progress }));
}

export class Live {
  private socket: WebSocket | null = null;
  private lastEvent: number | null = null;
  private attempt = 0;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private pollTimer: ReturnType<typeof setTimeout> | null = null;
  private stopped = true;

  constructor(private readonly store: StoreLike) {}

  start(): void {
    this.stopped = false;
    window.addEventListener("online", this.now);
    document.addEventListener("visibilitychange", this.now);
    void this.loadInfo();
    void this.loadList();
    void this.connect();
  }

  stop(): void {
    this.stopped = true;
    window.removeEventListener("online", this.now);
    document.removeEventListener("visibilitychange", this.now);
    if (this.timer) clearTimeout(this.timer);
    if (this.pollTimer) clearTimeout(this.pollTimer);
    this.socket?.close(1000);
    this.socket = null;
  }

  /* Something suggests that a try is worth it at once: the network is back, or the page is looked at again. */
  private now = (): void => {
    if (this.stopped || this.socket || document.visibilityState === "hidden") return;
    this.attempt = 0;
    if (this.timer) clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.connect(), 50);
  };

  private mode(mode: Mode): void {
    if (this.store.getState().connection.mode !== mode) this.store.dispatch(modeChanged(mode));
  }

  private async loadInfo(): Promise<void> {
    if (this.store.getState().connection.info) return;
    try {
      this.store.dispatch(infoLoaded(await getInfo()));
    } catch {
      /* Asked again on the next connection. */
    }
  }

  private async loadList(): Promise<boolean> {
    try {
      const page = await listAnalyses({ limit: LIST_LIMIT });
      this.store.dispatch(received({ items: page.items }));
      this.store.dispatch(listLoaded());
      return true;
    } catch {
      return false;
    }
  }

  private async connect(): Promise<void> {
    if (this.stopped || this.socket) return;
    let ticket: string;
    try {
      ticket = await getTicket();
    } catch (error) {
      if (toProblem(error).code === "network") this.mode("offline");
      this.later();
      return;
    }
    if (this.stopped || this.socket) return;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    let socket: WebSocket;
    try {
      socket = new WebSocket(`${scheme}://${location.host}/api/v1/events`);
    } catch {
      this.later();
      return;
    }
    this.socket = socket;
    const patience = setTimeout(() => socket.close(), WELCOME_MS);
    socket.onopen = () => {
      const hello: { type: "hello"; ticket: string; after?: number } = { type: "hello", ticket };
      if (this.lastEvent !== null) hello.after = this.lastEvent;
      socket.send(JSON.stringify(hello));
    };
    socket.onmessage = (event) => {
      let message: LiveMessage;
      try {
        message = JSON.parse(String(event.data)) as LiveMessage;
      } catch {
        return;
      }
      if (message.type === "welcome") {
        clearTimeout(patience);
        this.welcome(message.last_event_id, message.resumed);
      } else {
        if ("event_id" in message) this.lastEvent = Math.max(this.lastEvent ?? 0, message.event_id);
        handleMessage(message, this.store.dispatch);
      }
    };
    socket.onclose = () => {
      clearTimeout(patience);
      if (this.socket === socket) this.socket = null;
      if (!this.stopped) this.later();
    };
  }

  private welcome(lastEventId: number, resumed: boolean): void {
    this.attempt = 0;
    if (this.pollTimer) clearTimeout(this.pollTimer);
    this.pollTimer = null;
    this.mode("live");
    void this.loadInfo();
    if (!resumed || this.lastEvent === null) {
      this.lastEvent = lastEventId;
      void this.loadList();
      void this.pollUnfinished();
    }
  }

  private later(): void {
    if (this.stopped) return;
    this.startPolling();
    if (this.timer) clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.connect(), backoffMs(this.attempt++));
  }

  private startPolling(): void {
    if (this.pollTimer || this.stopped) return;
    const tick = async (): Promise<void> => {
      if (this.stopped || this.store.getState().connection.mode === "live") {
        if (!this.socket) this.mode("polling");
      }
      const reached = await this.loadList();
      if (this.stopped || this.pollTimer === null) return;
      const returned = reached && this.store.getState().connection.mode === "offline";
      this.mode(reached ? "polling" : "offline");
      if (returned) this.now();
      if (reached) {
        void this.loadInfo();
        await this.pollUnfinished();
      }
      if (this.pollTimer !== null) this.pollTimer = setTimeout(() => void tick(), reached ? POLL_MS : POLL_MS * 2);
    };
    this.pollTimer = setTimeout(() => void tick(), 300);
  }

  /* Asks for those that are not finished yet, and for the whole answer of those that just finished. */
  private async pollUnfinished(): Promise<void> {
    const { entities } = this.store.getState().analyses;
    const waiting = Object.values(entities).filter((one) => one.status === "queued" || one.status === "running");
    for (const one of waiting.slice(0, MAX_POLLED)) {
      try {
        const short = await getStatus(one.id);
        if (short.status === "done" || short.status === "failed")
          this.store.dispatch(received({ items: [await getAnalysis(one.id)] }));
        else this.store.dispatch(polled(short));
      } catch (error) {
        const problem = toProblem(error);
        if (problem.status === 404) this.store.dispatch(removed(one.id));
        else if (problem.code === "network") return;
      }
    }
  }
}
