/** Data to try with: costs of two clouds, alike enough that a question may mean either, and the teams' budgets. */
import type { Row } from "./kinds";

export interface Sample {
  readonly name: string;
  readonly description: string;
  readonly rows: Row[];
}

const TEAMS = ["platform", "search", "payments", "mobile"];
const AWS = {
  EC2: [42, "ap-northeast-2"],
  RDS: [21, "ap-northeast-2"],
  S3: [9.5, "us-east-1"],
  Lambda: [3.2, "us-east-1"],
} as const;
const GCP = {
  "Compute Engine": [30, "asia-northeast3"],
  BigQuery: [14, "us-central1"],
  "Cloud Storage": [6.4, "asia-northeast3"],
} as const;
const MONTHS = 3; // whole ones before this month

/** The same every time (mulberry32). */
const chances = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
};

export const dayOf = (date: Date): string =>
  `${date.getFullYear()}-${String(date.getMonth() + 1).padStart(2, "0")}-${String(date.getDate()).padStart(2, "0")}`;

const costs = (services: Readonly<Record<string, readonly [number, string]>>, today: Date, seed: number): Row[] => {
  const chance = chances(seed);
  const rows: Row[] = [];
  const day = new Date(today.getFullYear(), today.getMonth() - MONTHS, 1);
  for (let grown = 1; day <= today; grown += 0.0012, day.setDate(day.getDate() + 1)) {
    const quiet = day.getDay() % 6 === 0 ? 0.8 : 1;
    for (const [service, [price, region]] of Object.entries(services)) {
      const cost = Math.round(price * grown * quiet * (0.85 + 0.35 * chance()) * 100) / 100;
      const team = TEAMS[Math.floor(chance() * TEAMS.length)] as string;
      rows.push({ date: dayOf(day), service, region, team, cost, usage_hours: 1 + Math.floor(chance() * 24) });
    }
  }
  return rows;
};

const budgets = (today: Date): Row[] => {
  const chance = chances(8);
  return Array.from({ length: 12 }, (_, month) =>
    TEAMS.map((team) => ({
      month: `${today.getFullYear()}-${String(month + 1).padStart(2, "0")}`,
      team,
      budget: 1500 + 100 * Math.floor(chance() * 25),
      currency: "USD",
    })),
  ).flat();
};

/** Until today. */
export const samples = (today: Date): Sample[] => [
  {
    name: "aws_costs",
    description: "AWS 일별 비용: 서비스, 리전, 팀별 / Daily AWS cost by service, region and team",
    rows: costs(AWS, today, 7),
  },
  {
    name: "gcp_costs",
    description: "GCP 일별 비용: 서비스, 리전, 팀별 / Daily GCP cost by service, region and team",
    rows: costs(GCP, today, 11),
  },
  { name: "team_budgets", description: "팀별 월 예산 / Monthly budget of each team", rows: budgets(today) },
];
