/** A phone number as the database holds it. Times are ISO-8601. */
export interface PhoneNumberRecord {
  id: string;
  /** E.164. */
  number: string;
  label: string | null;
  provider: string;
  agentId: string | null;
  createdAt: string;
}
