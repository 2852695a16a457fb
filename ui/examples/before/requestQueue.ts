export type Priority = "high" | "normal" | "low";

export interface QueueOptions {
  concurrency?: number;
  maxWaiting?: number;
}

export interface AddOptions {
  priority?: Priority;
  signal?: AbortSignal;
}

interface Job {
  id: number;
  rank: number;
  run: (signal: AbortSignal) => Promise<unknown>;
  controller: AbortController;
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
}

const RANKS: Record<Priority, number> = { high: 0, normal: 1, low: 2 };

export class RequestQueue {
  private waiting: Job[] = [];
  private running = new Map<number, Job>();
  private nextId = 1;
  private isPaused = false;
  private listeners = new Set<() => void>();
  private readonly concurrency: number;
  private readonly maxWaiting: number;

  constructor({ concurrency = 4, maxWaiting = 100 }: QueueOptions = {}) {
    this.concurrency = concurrency;
    this.maxWaiting = maxWaiting;
  }

  add<T>(run: (signal: AbortSignal) => Promise<T>, options: AddOptions = {}): Promise<T> {
    const { priority = "normal", signal } = options;
    if (this.waiting.length >= this.maxWaiting) return Promise.reject(new Error("The queue is full"));
    return new Promise<T>((resolve, reject) => {
      const job: Job = {
        id: this.nextId++,
        rank: RANKS[priority],
        run,
        controller: new AbortController(),
        resolve: (value) => resolve(value as T),
        reject,
      };
      signal?.addEventListener("abort", () => job.controller.abort());
      const index = this.waiting.findIndex((other) => other.rank > job.rank);
      this.waiting.splice(index < 0 ? this.waiting.length : index, 0, job);
      this.next();
    });
  }

  cancel(id: number) {
    this.waiting = this.waiting.filter((job) => job.id !== id);
    this.running.get(id)?.controller.abort();
    this.notify();
  }

  clear() {
    this.waiting = [];
    this.notify();
  }

  pause() {
    this.isPaused = true;
  }

  resume() {
    this.isPaused = false;
    this.next();
  }

  subscribe(listener: () => void) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  get stats() {
    return { waiting: this.waiting.length, running: this.running.size, isPaused: this.isPaused };
  }

  private notify() {
    for (const listener of this.listeners) listener();
  }

  private next() {
    this.notify();
    while (!this.isPaused && this.running.size < this.concurrency) {
      const job = this.waiting.shift();
      if (!job) return;
      this.running.set(job.id, job);
      job
        .run(job.controller.signal)
        .then(job.resolve, job.reject)
        .finally(() => {
          this.running.delete(job.id);
          this.next();
        });
    }
  }
}
